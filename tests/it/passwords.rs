//! Hashing and verifying passwords.

use buffetbot_db::Error;
use buffetbot_db::passwords::PasswordHasher;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::PasswordHash;
use buffetbot_db::users::NewUser;
use futures_util::poll;

const PASSWORD: &str = "correct horse battery staple";

/// Fast ones.
fn hasher() -> PasswordHasher {
    PasswordHasher::new().cost(64, 1).expect("a cost")
}

#[tokio::test]
async fn a_stored_hash_verifies_its_password_only() {
    let db = TestDatabase::new().await.expect("a database");
    let hash = hasher().hash(PASSWORD).await.expect("a hash");
    assert_eq!(hash.algorithm(), "argon2id");
    let user = db.users().create(&NewUser::new("a@example.com", hash)).await.expect("stored");
    let stored = db.users().find(user.id).await.expect("read").expect("there").hashed_password;
    assert!(hasher().verify(PASSWORD, Some(&stored)).await.expect("verified"));
    for wrong in ["Correct horse battery staple", "correct horse battery staple ", "x"] {
        assert!(!hasher().verify(wrong, Some(&stored)).await.expect("verified"));
    }
    assert!(!hasher().verify(PASSWORD, None).await.expect("verified"));
}

#[tokio::test]
async fn equal_passwords_have_different_hashes() {
    let hashes = [hasher().hash(PASSWORD).await, hasher().hash(PASSWORD).await];
    let [one, other] = hashes.map(|hash| hash.expect("a hash"));
    assert_ne!(one.expose(), other.expose());
}

#[tokio::test]
async fn what_is_no_password_is_refused_and_not_shown() {
    let long = "secret".repeat(200);
    for password in ["", &*long] {
        for error in [
            hasher().hash(password).await.expect_err("refused"),
            hasher().verify(password, None).await.expect_err("refused"),
        ] {
            assert!(matches!(&error, Error::Invalid { field, .. } if *field == "password"));
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
    let most = "s".repeat(1024);
    let hash = hasher().hash(&most).await.expect("a hash");
    assert!(hasher().verify(&most, Some(&hash)).await.expect("verified"));
}

#[tokio::test]
async fn only_bounded_argon2id_is_verified() {
    let hash = hasher().hash(PASSWORD).await.expect("a hash");
    for hash in [
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".to_owned(),
        hash.expose().replace("m=64,", "m=4194304,"),
        hash.expose().replace("m=64,", "m=1,"),
    ] {
        let hash = PasswordHash::new(&hash).expect("a hash");
        let error = hasher().verify(PASSWORD, Some(&hash)).await.expect_err("refused");
        assert!(matches!(&error, Error::Invalid { field, .. } if *field == "hashed_password"));
        assert!(hasher().is_outdated(&hash));
    }
    assert!(!hasher().is_outdated(&hash) && PasswordHasher::new().is_outdated(&hash));
    assert!(hasher().cost(1 << 21, 1).is_err() && hasher().cost(64, 0).is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn the_runtime_goes_on_while_a_password_is_hashed() {
    let hasher = hasher();
    let mut hash = Box::pin(hasher.hash(PASSWORD));
    // On this only thread it would be done, were it done here.
    assert!(poll!(&mut hash).is_pending());
    // Given up, its turn ends with it, and the others come.
    drop(hash);
    let many = (0..50).map(|_| hasher.hash(PASSWORD));
    let hashes = futures_util::future::try_join_all(many).await.expect("hashes");
    assert_eq!(hashes.len(), 50);
    assert!(!format!("{hasher:?} {:?}", hashes[0]).contains(hashes[0].expose()));
}
