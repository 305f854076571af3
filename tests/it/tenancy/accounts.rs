//! What users may do to their own accounts, and signing up and logging in with the application role alone.

use std::time::{Duration, Instant};

use crate::api::*;
use buffetbot_db::testing::TestDatabase;

use super::{member, person};
use crate::catalog::connect;
use crate::support::hash;
use crate::support::plan::Recorder;

const PASSWORD: &str = "correct horse battery staple";

/// A fast one.
fn hasher() -> PasswordHasher {
    PasswordHasher::new().cost(64, 1).expect("a cost")
}

async fn new(email: &str) -> NewUser {
    NewUser::new(email, hasher().hash(PASSWORD).await.expect("a hash"))
}

#[tokio::test]
async fn a9_a_user_does_not_raise_her_own_account() {
    let db = TestDatabase::new().await.expect("a database");
    let me = person(&*db, "a@example.com").await;
    let id = me.user.id;
    let deactivated = db.users().deactivate(id).await.expect("by the platform");
    let none = UserPatch::default();
    let patches = [
        none.clone().is_verified(true),
        none.clone().is_active(true),
        none.clone().hashed_password(new("x@example.com").await.hashed_password),
        // Together with what she may change, nothing is changed.
        none.first_name(Some("Ada".into())).is_active(true),
    ];
    let scope = db.as_user(id);
    let denied = |what: &str, result: Result<()>| {
        assert!(matches!(result, Err(Error::Denied { .. })), "{what}: {result:?}");
    };
    for patch in &patches {
        denied("update", scope.users().update(id, patch).await.map(drop));
        let uow = scope.begin().await.expect("begun");
        denied("update in a unit of work", uow.users().update(id, patch).await.map(drop));
    }
    denied("verify", scope.users().verify(id).await.map(drop));
    denied("activate", scope.users().activate(id).await.map(drop));
    let other = new("x@example.com").await.hashed_password;
    denied("set_password", scope.users().set_password(id, &other).await);
    assert_eq!(db.users().find(id).await.expect("read"), Some(deactivated));

    // By SQL, too: the rule is the database's.
    let client = connect(&db).await;
    let name = format!("SET SESSION AUTHORIZATION buffetbot_app; SET buffetbot.user_id = '{id}'");
    client.batch_execute(&name).await.expect("in the name of the user");
    for change in [
        "is_verified = true",
        "is_active = true",
        "hashed_password = 'x'",
        "created_at = now() - interval '9 years'",
        "email = 'b@example.com', is_active = true",
    ] {
        client.execute(&format!("UPDATE users SET {change}"), &[]).await.expect_err(change);
    }
    let fresh = UserId::generate();
    client.batch_execute(&format!("SET buffetbot.user_id = '{fresh}'")).await.expect("named");
    let insert = format!(
        "INSERT INTO users (id, email, hashed_password, is_verified) VALUES ('{fresh}', 'c@example.com', 'x', true)"
    );
    client.execute(&insert, &[]).await.expect_err("verified by herself");

    // The platform may, also while a name is set.
    db.users().activate(id).await.expect("by the platform");
    db.users().verify(id).await.expect("by the platform");
    db.users().set_password(id, &hash()).await.expect("by the platform");
}

#[tokio::test]
async fn a9_an_account_that_is_gone_is_not_made_again() {
    let db = TestDatabase::new().await.expect("a database");
    let (me, other) = (person(&*db, "a@example.com").await, person(&*db, "b@example.com").await);
    let id = me.user.id;
    db.users().deactivate(id).await.expect("by the platform");
    let client = connect(&db).await;
    let name = format!("SET SESSION AUTHORIZATION buffetbot_app; SET buffetbot.user_id = '{id}'");
    client.batch_execute(&name).await.expect("in the name of the user");
    for again in [
        format!("INSERT INTO users (id, email, hashed_password) VALUES ('{id}', 'a@example.com', 'x')"),
        // The name changes while the statement runs.
        format!(
            "INSERT INTO users (id, email, hashed_password, is_verified, first_name)
             SELECT '{id}', email, 'x', verified, set_config('buffetbot.user_id', named, true)
             FROM (VALUES ('{}', false, '{id}'), ('a@example.com', true, '')) AS r (email, verified, named)
             ON CONFLICT DO NOTHING",
            other.user.email
        ),
    ] {
        client.batch_execute("BEGIN; DELETE FROM users").await.expect("her own right");
        client.batch_execute(&again).await.expect_err("not a second time");
        client.batch_execute("ROLLBACK").await.expect("undone");
    }
    // Nor by the function for signing up, so that nobody reads the log of who was there before.
    assert!(db.users().delete(id).await.expect("deleted"));
    let taken = NewUser { id, ..new("c@example.com").await };
    let error = db.accounts().register(&taken).await.expect_err("taken");
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");

    // What decides about a fresh account of the name's own is not the user's to choose.
    let fresh = UserId::generate();
    client
        .batch_execute(&format!(
            "SET buffetbot.user_id = '{fresh}';
             INSERT INTO users (id, email, hashed_password, is_active, created_at, updated_at)
             VALUES ('{fresh}', 'd@example.com', 'x', false, '2000-01-01Z', '294276-12-31 23:59:59.999999Z')"
        ))
        .await
        .expect("made");
    let row = connect(&db).await;
    let sql =
        "SELECT is_active AND created_at = updated_at AND updated_at < now() + interval '1 minute'
        FROM users WHERE email = 'd@example.com'";
    assert!(row.query_one(sql, &[]).await.expect("read").get::<_, bool>(0));
}

#[tokio::test]
async fn a9_a_profile_is_what_users_change() {
    let db = TestDatabase::new().await.expect("a database");
    let id = person(&*db, "a@example.com").await.user.id;
    db.users().verify(id).await.expect("verified");
    let scope = db.as_user(id);
    let patch: ProfilePatch = serde_json::from_str(
        r#"{"first_name": "Ada", "username": "ada", "email": "A@example.com"}"#,
    )
    .expect("a patch");
    for users in [scope.users(), db.users()] {
        let changed = users.update_profile(id, &patch).await.expect("changed");
        assert_eq!(
            (changed.first_name.as_deref(), changed.username.as_deref()),
            (Some("Ada"), Some("ada"))
        );
        assert!(changed.is_verified, "the same address in other letters");
    }
    for (users, email) in [(scope.users(), "b@example.com"), (db.users(), "c@example.com")] {
        db.users().verify(id).await.expect("verified");
        let patch = ProfilePatch::default().email(email);
        let changed = users.update_profile(id, &patch).await.expect("changed");
        assert_eq!((&*changed.email, changed.is_verified), (email, false));
    }
    // Also by the platform's patch in the name of the user.
    db.users().verify(id).await.expect("verified");
    let patch = UserPatch::default().email("d@example.com");
    assert!(!scope.users().update(id, &patch).await.expect("changed").is_verified);

    let cleared = ProfilePatch::default().first_name(None);
    assert_eq!(scope.users().update_profile(id, &cleared).await.expect("changed").first_name, None);
    let same = scope.users().update_profile(id, &ProfilePatch::default()).await.expect("nothing");
    assert_eq!(Some(same), db.users().find(id).await.expect("read"));
    for field in ["is_verified", "is_active", "hashed_password", "id", "last_login_at"] {
        let body = format!(r#"{{"{field}": true}}"#);
        serde_json::from_str::<ProfilePatch>(&body).expect_err(field);
    }
    let bad = ProfilePatch::default().email("no address");
    let error = scope.users().update_profile(id, &bad).await.expect_err("refused");
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    let error =
        scope.users().update_profile(UserId::generate(), &cleared).await.expect_err("nobody");
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}

/// One error, whichever call makes it: nothing is looked up, so nothing is not found.
#[tokio::test]
async fn b16_an_account_of_another_id_is_denied_in_a_users_name() {
    let db = TestDatabase::new().await.expect("a database");
    let me = person(&*db, "a@example.com").await;
    let scope = db.as_user(me.user.id);
    let stranger = new("stranger@example.com").await;
    let denied = |error: Error| matches!(&error, Error::Denied { sqlstate } if sqlstate == "42501");
    assert!(denied(scope.users().create(&stranger).await.expect_err("denied")));
    let many = std::slice::from_ref(&stranger);
    assert!(denied(scope.users().create_many(many).await.expect_err("denied")));
    let unit = scope.begin().await.expect("begun");
    assert!(denied(unit.users().create(&stranger).await.expect_err("denied")));
    drop(unit);
    assert!(!db.users().exists_email("stranger@example.com").await.expect("looked"));
    // The user's own account, as by a program that signs up so.
    let fresh = new("fresh@example.com").await;
    let made = db.as_user(fresh.id).users().create(&fresh).await.expect("made");
    assert_eq!(made.id, fresh.id);
}

#[tokio::test]
async fn a10_a_login_of_the_application_role_alone_signs_up_and_logs_in() {
    let db = TestDatabase::new().await.expect("a database");
    let other = person(&*db, "other@example.com").await;
    let login = member(&db, "buffetbot_app").await;
    let program =
        Database::connect(Config::new(&login.url).expect("a URL")).await.expect("connected");
    let accounts = || program.accounts().hasher(hasher());

    let ada = new("Ada@example.com").await.username("ada").name("Ada", "Lovelace");
    accounts().register(&ada).await.expect("registered");
    let stored = db.users().find(ada.id).await.expect("read").expect("there");
    assert_eq!(
        (&*stored.email, stored.is_active, stored.is_verified),
        ("Ada@example.com", true, false)
    );
    assert_eq!(stored.full_name().as_deref(), Some("Ada Lovelace"));
    for taken in [new("aDA@EXAMPLE.com").await, new("b@example.com").await.username("ada")] {
        let error = accounts().register(&taken).await.expect_err("taken");
        assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    }
    let error = accounts().register(&new("no address").await).await.expect_err("refused");
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");

    let found = accounts().authenticate("ADA@example.com", PASSWORD).await.expect("answered");
    assert_eq!(found, Some(ada.id));
    assert!(db.users().find(ada.id).await.expect("read").expect("there").last_login_at.is_some());
    for (email, password) in [
        ("ada@example.com", "correct horse battery stapler"),
        ("nobody@example.com", PASSWORD),
        ("", PASSWORD),
        ("%", PASSWORD),
        ("other@example.com", PASSWORD),
    ] {
        let found = accounts().authenticate(email, password).await.expect("answered");
        assert_eq!(found, None, "{email} {password}");
    }
    let scope = program.as_user(ada.id);
    assert_eq!(scope.users().find(ada.id).await.expect("read").map(|u| u.id), Some(ada.id));
    assert_eq!(scope.users().find(other.user.id).await.expect("read"), None);

    // Another password takes the present one.
    let change = async |present: &str| {
        accounts().change_password("ada@example.com", present, "new one").await
    };
    assert_eq!(change("a guess").await.expect("answered"), None);
    assert_eq!(change(PASSWORD).await.expect("answered"), Some(ada.id));
    let log_in = async |password: &str| {
        accounts().authenticate("ada@example.com", password).await.expect("answered")
    };
    assert_eq!((log_in(PASSWORD).await, log_in("new one").await), (None, Some(ada.id)));

    // An account that is not active is not told from one that is not there.
    db.users().deactivate(ada.id).await.expect("by the platform");
    assert_eq!(log_in("new one").await, None);
    assert_eq!(change("new one").await.expect("answered"), None);
    drop((scope, program));
    login.drop().await;
}

#[tokio::test]
async fn a10_the_functions_give_no_hash_away() {
    let db = TestDatabase::new().await.expect("a database");
    let ada = new("eve@example.com").await;
    db.accounts().register(&ada).await.expect("registered");
    let (hash, client) = (ada.hashed_password.expose(), connect(&db).await);
    client.batch_execute("SET SESSION AUTHORIZATION buffetbot_app").await.expect("the role");
    let salt: String =
        client.query_one("SELECT account_salt('EVE@example.com')", &[]).await.expect("told").get(0);
    let (salted, output) = hash.rsplit_once('$').expect("an output");
    assert_eq!(salt, format!("{salted}${}", "A".repeat(output.len())));
    // Neither the salt nor nothing nor a part of it opens the account.
    for guess in [
        None,
        Some(""),
        Some("A"),
        Some(&*"A".repeat(output.len())),
        Some(&output[1..]),
        Some("%"),
        Some(hash),
    ] {
        let id: Option<uuid::Uuid> = client
            .query_one("SELECT authenticate_account('eve@example.com', $1)", &[&guess])
            .await
            .expect("answered")
            .get(0);
        assert_eq!(id, None, "{guess:?}");
    }
    let hashes = client.query("SELECT hashed_password FROM users", &[]).await.expect("none");
    assert!(hashes.is_empty());
}

#[tokio::test]
async fn a10_hashes_of_other_costs_verify_too_and_other_algorithms_are_told() {
    let db = TestDatabase::new().await.expect("a database");
    // A test vector of the reference implementation: password, somesalt.
    let costly =
        PasswordHasher::new().cost(128, 3).expect("a cost").hash(PASSWORD).await.expect("a hash");
    let vector =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    for (email, hash, password) in [
        ("a@example.com", costly, PASSWORD),
        ("b@example.com", PasswordHash::new(vector).expect("a hash"), "password"),
    ] {
        let user = NewUser::new(email, hash);
        db.accounts().register(&user).await.expect("registered");
        let found = db.accounts().authenticate(email, password).await.expect("answered");
        assert_eq!(found, Some(user.id), "{email}");
    }
    let legacy = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";
    let legacy = NewUser::new("c@example.com", PasswordHash::new(legacy).expect("a hash"));
    db.accounts().register(&legacy).await.expect("registered");
    let error = db.accounts().authenticate("c@example.com", PASSWORD).await.expect_err("told");
    assert!(
        matches!(&error, Error::Invalid { field, .. } if *field == "hashed_password"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a10_a_known_and_an_unknown_address_take_the_same_statements_and_time() {
    let (db, recorder) = Recorder::database().await;
    // Costs at which the computation is what takes the time.
    let hasher = PasswordHasher::new().cost(1 << 10, 1).expect("a cost");
    let hash = hasher.hash(PASSWORD).await.expect("a hash");
    db.accounts().register(&NewUser::new("ada@example.com", hash)).await.expect("registered");
    let attempt = async |email: &str| {
        let accounts = db.accounts().hasher(hasher.clone());
        let started = Instant::now();
        assert_eq!(accounts.authenticate(email, "a guess").await.expect("answered"), None);
        started.elapsed()
    };
    attempt("ada@example.com").await;
    recorder.take();
    let (mut known, mut unknown): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        known.push(attempt("ada@example.com").await);
        let sent = recorder.take();
        unknown.push(attempt("nobody@example.com").await);
        assert_eq!(recorder.take(), sent);
    }
    known.sort();
    unknown.sort();
    // An answer without the computation would come in a twentieth of the time.
    let ratio = known[4].as_secs_f64() / unknown[4].as_secs_f64();
    assert!((0.33..3.0).contains(&ratio), "{ratio}: {known:?} {unknown:?}");
}
