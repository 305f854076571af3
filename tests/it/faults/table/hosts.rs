//! The name of a host that leads elsewhere from some time on, as after a failover that is told by DNS.
//!
//! Names are the machine's: the case runs in a copy of this program, in which `/etc/hosts` is a file of its own.
//! It takes a mount, which only root may make.

use std::process::Command;

use super::*;

const NAME: &str = "database.test";
const HOSTS: &str = "BUFFETBOT_TEST_HOSTS";

pub async fn the_name_leads_elsewhere(bench: &mut Bench) {
    let hosts = bench.server.dir().join("hosts");
    std::fs::write(&hosts, "").unwrap();
    let mounted = format!("mount --bind \"${HOSTS}\" /etc/hosts && exec \"$@\"");
    let output = run(Command::new("unshare")
        .args(["--mount", "sh", "-c", &mounted, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "faults::table::hosts::child", "--ignored", "--nocapture"])
        .env(HOSTS, &hosts));
    let told = String::from_utf8(output.stdout).unwrap();
    let row = told.lines().find(|line| line.starts_with("| the name")).expect("its row");
    bench.rows.push(row.to_owned());
}

/// The other program. By itself, among all ignored tests, it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the program that another test runs"]
async fn child() {
    let Some(hosts) = std::env::var_os(HOSTS) else { return };
    let leads_to = |address: &str| std::fs::write(&hosts, format!("{address} {NAME}\n")).unwrap();
    let mut bench = Bench::start().await;
    let first = Proxy::at("127.0.0.2:0", bench.server.port).await;
    let second = Proxy::at(&format!("127.0.0.3:{}", first.port), bench.server.port).await;
    leads_to("127.0.0.2");
    let load =
        bench.load_with(Bench::config(&bench.url(first.port).replace("127.0.0.1", NAME))).await;
    assert_eq!(second.made(), 0);
    leads_to("127.0.0.3");
    first.is_now(Network::Down);
    let changed = Instant::now();
    load.errors_come().await;
    let fault = "the name leads to another host, the first one is gone";
    bench.ends(load, fault, changed, &["Unavailable", "OutcomeUnknown", "Busy"]).await;
    assert!(second.made() > 0);
    bench.print();
}
