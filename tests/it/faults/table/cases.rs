//! Faults that take more than a signal, a state of the network or a statement.

use super::*;
use crate::support::faketime;

/// The server is killed while a stream of bars is copied in: nothing of the stream is stored.
pub async fn killed_in_a_copy(bench: &mut Bench) {
    let load = bench.load().await;
    let db = load.db.clone();
    let copied = Arc::new(AtomicUsize::new(0));
    let counted = copied.clone();
    let copying = tokio::spawn(async move {
        let bars = futures_util::stream::iter(0..).map(move |n| {
            counted.fetch_add(1, Ordering::Relaxed);
            let day = chrono::NaiveDate::default() + chrono::Days::new(n % 20_000);
            Ok(NewPriceBar::new(parsed(&format!("COPY{}", n / 20_000)), day, parsed("1")).into())
        });
        db.prices().copy_in(bars.boxed(), &IngestOptions::new()).await
    });
    eventually("a chunk is on its way", async || copied.load(Ordering::Relaxed) > 60_000).await;
    bench.server.kill();
    let error = tokio::time::timeout(GENEROUS, copying).await.expect("in time").unwrap();
    assert!(matches!(error, Err(Error::Unavailable { .. })), "{error:?}");
    load.errors_come().await;
    bench.server.run().await;
    let observer = raw(&bench.server.url()).await;
    let left = "SELECT count(*) FROM price_history WHERE ticker LIKE 'COPY%'";
    assert_eq!(observer.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    bench
        .ends(
            load,
            "server killed in the middle of a COPY",
            Instant::now(),
            &["Unavailable", "OutcomeUnknown", "Busy"],
        )
        .await;
}

/// The first host of the URL goes away for good.
pub async fn second_host(bench: &mut Bench) {
    let (first, second) =
        (Proxy::start(bench.server.port).await, Proxy::start(bench.server.port).await);
    let one = format!("127.0.0.1:{}", first.port);
    let url = bench.url(first.port).replace(&one, &format!("{one},127.0.0.1:{}", second.port));
    let load = bench.load_with(Bench::config(&url)).await;
    first.is_now(Network::Down);
    let gone = Instant::now();
    load.errors_come().await;
    bench
        .ends(
            load,
            "host gone for good, the URL names another",
            gone,
            &["Unavailable", "OutcomeUnknown"],
        )
        .await;
}

/// A failover: the connections lead to what only reads from now on, new ones to where writing is possible. Sessions
/// keep the setting of the time when they began, as those of a demoted host do.
pub async fn left_on_a_standby(bench: &mut Bench, terminate: &str) {
    let load = bench.load().await;
    let admin = raw(&bench.server.url()).await;
    let reading = "ALTER DATABASE postgres SET default_transaction_read_only = on";
    admin.batch_execute(reading).await.unwrap();
    let now = "SELECT clock_timestamp()";
    let since: std::time::SystemTime = admin.query_one(now, &[]).await.unwrap().get(0);
    admin.batch_execute(terminate).await.unwrap();
    // Only those that were made since can be left behind.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'buffetbot-db'
        AND backend_start BETWEEN $1 AND $2";
    let left = async |until: std::time::SystemTime| -> i64 {
        admin.query_one(left, &[&since, &until]).await.unwrap().get(0)
    };
    let far = since + Duration::from_secs(3_600);
    eventually("the pool is full of such as only read", async || left(far).await == 4).await;
    let told = async || load.errors.lock().unwrap().contains_key("ReadOnly");
    eventually("writes are refused", told).await;
    let reset = "ALTER DATABASE postgres RESET default_transaction_read_only";
    admin.batch_execute(reset).await.unwrap();
    let healed = Instant::now();
    let until: std::time::SystemTime = admin.query_one(now, &[]).await.unwrap().get(0);
    eventually("none of them is left", async || left(until).await == 0).await;
    let fault = "connections left on a standby after a failover";
    bench.ends(load, fault, healed, &["ReadOnly", "Unavailable", "OutcomeUnknown", "Busy"]).await;
}

/// The server takes no more connections of this login, as when others have taken all there are.
pub async fn too_many(bench: &mut Bench, terminate: &str) {
    let admin = raw(&bench.server.url()).await;
    let login = "CREATE ROLE loader LOGIN PASSWORD 'L0ader' IN ROLE buffetbot_app";
    admin.batch_execute(login).await.unwrap();
    let config = Bench::config(&bench.server.url_of("loader", "L0ader", "postgres"));
    let bad = format!("ALTER ROLE loader CONNECTION LIMIT 0; {terminate}");
    let good = "ALTER ROLE loader CONNECTION LIMIT -1";
    bench
        .told(
            "too many connections",
            config,
            &bad,
            good,
            &["Unavailable", "OutcomeUnknown", "Busy"],
        )
        .await;
}

/// Somebody keeps all of the pool's connections.
pub async fn pool_exhausted(bench: &mut Bench) {
    let config = Bench::config(&bench.server.url()).pool_timeout(Duration::from_millis(300));
    let load = bench.load_with(config).await;
    let mut held = Vec::new();
    while held.len() < 4 {
        held.extend(load.db.connection().await.ok());
    }
    let error = load.db.connection().await.err().expect("none is left");
    let Error::Busy { waited, cause: Some(cause), .. } = &error else { panic!("{error:?}") };
    assert!(*waited >= Duration::from_millis(300) && cause.contains("all 4 in use"), "{error}");
    load.errors_come().await;
    drop(held);
    bench.ends(load, "pool exhausted", Instant::now(), &["Busy (pooled connection)"]).await;
}

/// Somebody has filled the server's shared memory for locks.
pub async fn out_of_memory(bench: &mut Bench) {
    let load = bench.load().await;
    let hog = raw(&bench.server.url()).await;
    let fill = "DO $$ BEGIN PERFORM pg_advisory_lock(i) FROM generate_series(1, 1000000) i;
        EXCEPTION WHEN out_of_memory THEN NULL; END $$";
    hog.batch_execute(fill).await.unwrap();
    load.errors_come().await;
    hog.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    bench.ends(load, "out of memory for locks", Instant::now(), &["Database (53200)"]).await;
}

/// The clock of the server's machine is set an hour ahead, and then back.
pub async fn clock_jumps(bench: &mut Bench) {
    let mut clock = std::path::PathBuf::new();
    let server = TcpServer::start_with(|dir| {
        clock = dir.join("clock");
        std::fs::write(&clock, "+0").unwrap();
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", clock.display());
        let library = format!("LD_PRELOAD={}", faketime::library());
        let environment =
            [&*library, &file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
        let environment = environment.map(str::to_owned).to_vec();
        ServerOptions { environment, ..ServerOptions::default() }
    });
    let usual = std::mem::replace(&mut bench.server, server.await);
    let setup = Database::connect(Bench::config(&bench.server.url())).await.unwrap();
    setup.migrate().await.unwrap();
    let load = bench.load().await;
    let observer = raw(&bench.server.url()).await;
    let now = async || -> std::time::SystemTime {
        observer.query_one("SELECT clock_timestamp()", &[]).await.unwrap().get(0)
    };
    let before = now().await;
    std::fs::write(&clock, "+3600").unwrap();
    load.works().await;
    let ahead = now().await;
    assert!(ahead > before + Duration::from_secs(3_000), "the clock has jumped");
    std::fs::write(&clock, "-3600").unwrap();
    load.works().await;
    assert!(now().await < before, "and back");
    bench.ends(load, "server's clock an hour ahead, then back", Instant::now(), &[]).await;
    bench.server = usual;
}

/// Transactions that deadlock, and such as cannot be serialized: they run again, and nobody sees it.
pub async fn collisions(bench: &mut Bench) {
    let db = Database::connect(Bench::config(&bench.server.url())).await.unwrap();
    let setup = db.connection().await.unwrap();
    batch(
        &setup,
        "CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL);
        INSERT INTO counters VALUES (1, 0), (2, 0)",
    )
    .await
    .unwrap();
    drop(setup);
    for (fault, isolation, orders) in [
        ("deadlocks", Isolation::ReadCommitted, [[1, 2], [2, 1]]),
        ("serialization failures", Isolation::Serializable, [[1, 2], [1, 2]]),
    ] {
        let load = bench.load().await;
        let (began, attempts) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let collide = |order: [i32; 2]| {
            let (db, attempts) = (db.clone(), attempts.clone());
            tokio::spawn(async move {
                let options = TransactionOptions::default().isolation(isolation);
                for _ in 0..10 {
                    let count = async |uow: &UnitOfWork| {
                        attempts.fetch_add(1, Ordering::Relaxed);
                        let connection = uow.connection().await?;
                        for id in order {
                            let count = format!("UPDATE counters SET n = n + 1 WHERE id = {id}");
                            batch(&connection, &count).await?;
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        Ok::<_, Error>(())
                    };
                    // Six attempts in a row may collide where the machine is slow; a caller may go on.
                    while let Err(error) = db.transaction_with(options, count).await {
                        assert!(error.is_retryable(), "{fault}: {error:?}");
                    }
                }
            })
        };
        let tasks = orders.map(collide);
        for task in tasks {
            task.await.unwrap();
        }
        let connection = db.connection().await.unwrap();
        let n =
            crate::support::number(&connection, "SELECT sum(n) AS n FROM counters").await.unwrap();
        assert_eq!(n, 40, "{fault}: each counted once");
        batch(&connection, "UPDATE counters SET n = 0").await.unwrap();
        drop(connection);
        assert!(attempts.load(Ordering::Relaxed) > 20, "{fault}: none was seen");
        bench.ends(load, fault, began, &[]).await;
    }
}

/// The file system of the table's tablespace is full.
pub async fn disk_full(bench: &mut Bench) {
    let space = bench.server.dir().join("small");
    std::fs::create_dir(&space).unwrap();
    let mut mount = std::process::Command::new("mount");
    run(mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&space));
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let mounted = Mounted(space.clone());
    give(&space);
    let admin = raw(&bench.server.url()).await;
    let create = format!("CREATE TABLESPACE small LOCATION '{}'", space.display());
    admin.batch_execute(&create).await.unwrap();
    let moved = "ALTER TABLE price_history SET TABLESPACE small";
    admin.batch_execute(moved).await.unwrap();
    let load = bench.load().await;
    let filler = space.join("filler");
    let fill = format!("dd if=/dev/zero of={} bs=64k 2>/dev/null; true", filler.display());
    run(std::process::Command::new("sh").args(["-c", &fill]));
    load.errors_come().await;
    std::fs::remove_file(&filler).unwrap();
    bench.ends(load, "disk full", Instant::now(), &["Database (53100)"]).await;
    let back = "ALTER TABLE price_history SET TABLESPACE pg_default";
    admin.batch_execute(back).await.unwrap();
    admin.batch_execute("DROP TABLESPACE small").await.unwrap();
    drop(mounted);
}
