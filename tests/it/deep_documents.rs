//! Documents as deep as they are stored: whatever holds one can be decoded, and a deeper one is refused where it would be
//! stored.

use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use serde_json::{Value, json};

use crate::cache_redis::{an_hour, every_level, process};
use crate::support::handle::Handle;
use crate::support::redis::RedisServer;
use crate::support::{hash, parsed, portfolio, somebody, user};

const HOUR: Duration = Duration::from_secs(3_600);
/// Levels that are stored.
const DEEPEST: usize = 120;
/// Levels that serde_json reads.
const READABLE: usize = 127;

fn deep(levels: usize) -> Document {
    Document::parse("[".repeat(levels) + &"]".repeat(levels)).expect("a document")
}

fn document_key(symbol: &str, parameters: Option<Document>) -> CacheKey {
    CacheKey { parameters, ..CacheKey::new(&parsed(symbol), DataType::NEWS) }
}

fn result_of(symbol: &str) -> NewAnalysis {
    NewAnalysis::new(parsed(symbol), AnalysisType::Value)
}

/// What a program does with whatever serializes.
fn goes_through_json<T>(what: &str, value: &T) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let document = Document::encode(value).unwrap_or_else(|e| panic!("{what}: {e}"));
    document.decode::<Value>().unwrap_or_else(|e| panic!("{what}: {e}"));
    document.decode().unwrap_or_else(|e| panic!("{what}: {e}"))
}

#[tokio::test]
async fn c6_whatever_holds_a_stored_document_can_be_decoded() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let (here, there) = (process(&db, every_level(&redis)), process(&db, every_level(&redis)));
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    let mut consumer = db.events().consumer("reader", EventFilter::new()).await.expect("made");
    db.users().set_preferences(ada.id, Some(&deep(DEEPEST))).await.expect("set");

    let key = document_key("AAPL", Some(deep(DEEPEST)));
    let put = PutOptions::ttl(HOUR);
    let entry = db.market_cache().put(&key, &deep(DEEPEST), &put).await.expect("stored");
    assert_eq!(goes_through_json("an entry", &entry), entry);
    let new = NewCacheEntry::new(key.clone(), deep(DEEPEST), put);
    assert_eq!(goes_through_json("a new entry", &new), new);

    let inputs = Inputs::new().document(&key, entry.revision);
    let new = NewAnalysis {
        metadata: Some(deep(DEEPEST)),
        inputs: Some(inputs.clone()),
        ..result_of("AAPL")
    };
    assert_eq!(goes_through_json("a new result", &new), new);
    let key_of_result = AnalysisKey {
        parameters: Some(deep(DEEPEST)),
        ..AnalysisKey::new(&parsed("AAPL"), AnalysisType::Value).portfolio(core.id)
    };
    let compute = move |_| async move { Ok::<_, BoxError>(new) };
    let computed = here.get_or_compute(&key_of_result, &an_hour(), compute).await;
    let result = computed.expect("stored and answered").value;
    let never = |_| async { Err::<NewAnalysis, _>("computed again") };
    let found = there.get_or_compute(&key_of_result, &an_hour(), never).await;
    let found = found.expect("found");
    assert_eq!((found.origin, &*found.value), (Origin::Redis, &*result));
    let stored = db.analyses().find(result.id).await.expect("read").expect("a row");
    assert_eq!(goes_through_json("a result", &stored), *result);
    assert_eq!(stored.metadata_as::<Value>().expect("read"), Some(deep_value(DEEPEST)));
    assert_eq!(stored.watermarks().expect("read").as_ref(), Some(&inputs));
    stored.inputs.expect("inputs").decode::<Value>().expect("read");
    let lineage = db.analyses().lineage(result.id).await.expect("read").expect("a lineage");
    assert_eq!(goes_through_json("a lineage", &lineage), lineage);

    let export = db.users().export(ada.id).await.expect("read").expect("an export");
    let decoded: Value = export.decode().expect("an export is decoded");
    assert_eq!(decoded["analyses"][0]["metadata"], deep_value(DEEPEST));
    assert_eq!(Document::parse(export.as_str()).expect("a document"), export);

    db.market_cache().invalidate(&CacheSelector::key(&key)).await.expect("invalidated");
    let delivery = consumer.next().await.expect("a delivery");
    assert!(delivery.unreadable().is_empty());
    let invalidated = delivery.events().last().expect("an event");
    assert!(matches!(invalidated.data, EventData::CacheInvalidated { .. }), "{invalidated:?}");
    Document::encode(invalidated).expect("a document").decode::<Value>().expect("read");
}

fn deep_value(levels: usize) -> Value {
    (1..levels).fold(json!([]), |inner, _| json!([inner]))
}

/// Refused is what would be stored, of the field that is too deep; nothing is computed or fetched for it.
#[tokio::test]
async fn c6_what_is_deeper_is_refused_by_its_field() {
    let db = TestDatabase::new().await.expect("a database");
    let too_deep = || deep(DEEPEST + 1);
    let refused = |what: &str, field: &str, result: Result<()>| {
        let error = match result.expect_err(what) {
            Error::Item { index: 0, source } => *source,
            other => other,
        };
        let Error::Invalid { field: named, reason } = &error else { panic!("{what}: {error:?}") };
        assert_eq!((&**named, reason.as_str()), (field, "nested deeper than 120 levels"), "{what}");
    };

    let users = db.users();
    let ada = users.create(&somebody().preferences(deep(DEEPEST))).await.expect("made");
    let new = NewUser::new("b@example.com", hash()).preferences(too_deep());
    refused("create", "preferences", users.create(&new).await.map(drop));
    let many = [new.clone()];
    refused("create_many", "preferences", users.create_many(&many).await.map(drop));
    refused("register", "preferences", db.accounts().register(&new).await);
    let set = users.set_preferences(ada.id, Some(&too_deep())).await;
    refused("set_preferences", "preferences", set);
    let merged = Document::encode(&json!({"a": deep_value(DEEPEST)})).expect("a document");
    let merged = users.merge_preferences(ada.id, &merged).await.map(drop);
    refused("merge_preferences", "preferences", merged);
    assert_eq!(users.preferences(ada.id).await.expect("read"), Some(deep(DEEPEST)));

    let analyses = db.analyses();
    let stored = analyses.create(&result_of("AAPL")).await.expect("stored");
    let inputs = || Inputs::new().document(&document_key("AAPL", Some(too_deep())), 1);
    let news = [
        ("metadata", NewAnalysis { metadata: Some(too_deep()), ..result_of("MSFT") }),
        ("parameters", NewAnalysis { parameters: Some(too_deep()), ..result_of("MSFT") }),
        ("inputs", result_of("MSFT").inputs(inputs())),
    ];
    let key = AnalysisKey::new(&parsed("MSFT"), AnalysisType::Value);
    for (field, new) in news {
        refused("create", field, analyses.create(&new).await.map(drop));
        let many = [new.clone()];
        refused("create_many", field, analyses.create_many(&many).await.map(drop));
        // The parameters are those of the key.
        if field != "parameters" {
            let compute = move |_| async move { Ok::<_, BoxError>(new) };
            let computed = db.get_or_compute(&key, &an_hour(), compute).await;
            refused("get_or_compute", field, computed.map(drop));
        }
    }
    let never = |_| async { panic!("this is not computed") as Result<NewAnalysis, BoxError> };
    let unit = db.begin().await.expect("begun");
    let key = AnalysisKey { parameters: Some(too_deep()), ..key };
    let computed = db.get_or_compute(&key, &an_hour(), never).await;
    refused("get_or_compute", "parameters", computed.map(drop));
    let computed = unit.get_or_compute(&key, &an_hour(), never).await;
    refused("get_or_compute in a unit", "parameters", computed.map(drop));
    unit.commit().await.expect("nothing was sent");
    let none = AnalysisPatch::default();
    let patches = [
        ("metadata", none.clone().metadata(Some(too_deep()))),
        ("parameters", none.clone().parameters(Some(too_deep()))),
        ("inputs", none.inputs(Some(inputs()))),
    ];
    for (field, patch) in patches {
        refused("update", field, analyses.update(stored.id, &patch).await.map(drop));
    }
    assert_eq!(analyses.count(&AnalysisFilter::default()).await.expect("counted"), 1);

    let documents = db.market_cache();
    let put = || PutOptions::ttl(HOUR);
    let shallow = document_key("AAPL", None);
    let stored = documents.put(&shallow, &deep(DEEPEST), &put()).await.expect("stored");
    let under_deep = document_key("AAPL", Some(too_deep()));
    for (field, key, data) in [("data", &shallow, too_deep()), ("parameters", &under_deep, deep(1))]
    {
        let new = NewCacheEntry::new(key.clone(), data.clone(), put());
        refused("put", field, documents.put(key, &data, &put()).await.map(drop));
        refused("create", field, documents.create(&new).await.map(drop));
        let many = [new.clone()];
        refused("create_many", field, documents.create_many(&many).await.map(drop));
        refused("put_many", field, documents.put_many(&many).await.map(drop));
        let backfill = [Backfill { entry: new, cached_at: stored.cached_at }];
        refused("backfill_many", field, documents.backfill_many(&backfill).await.map(drop));
        let value: Value = data.decode().expect("a value");
        let cached = db.cache().put(key, value, &an_hour()).await;
        refused("cache.put", field, cached.map(drop));
    }
    let patch = CacheEntryPatch::default().data(too_deep());
    refused("update", "data", documents.update(stored.id, &patch).await.map(drop));
    let fetch = |_| async { Ok::<_, BoxError>(deep_value(DEEPEST + 1)) };
    let new_key = document_key("MSFT", None);
    let fetched = db.cache().get_or_fetch::<Value>(&new_key, &an_hour(), fetch).await;
    refused("get_or_fetch", "data", fetched.map(drop));
    let never = |_| async { panic!("this is not fetched") as Result<Value, BoxError> };
    let fetched = db.cache().get_or_fetch::<Value>(&under_deep, &an_hour(), never).await;
    refused("get_or_fetch", "parameters", fetched.map(drop));
    let never =
        |_| async { panic!("this is not fetched") as Result<Vec<(CacheKey, Value)>, BoxError> };
    let asked = [under_deep.clone(), shallow.clone()];
    let fetched = db.cache().get_many_or_fetch::<Value>(&asked, &an_hour(), never).await;
    let [deeper, found] = <[_; 2]>::try_from(fetched.expect("answers")).expect("two");
    refused("get_many_or_fetch", "parameters", deeper.map(drop));
    assert_eq!(*found.expect("a value").value, deep_value(DEEPEST));
    // That there is no such entry is an answer.
    assert!(documents.get(&under_deep).await.expect("read").is_none());
    assert_eq!(documents.count(&CacheFilter::default()).await.expect("counted"), 1);
}

#[tokio::test]
async fn c6_deeper_documents_of_other_programs_are_read() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let ada = user(&*db, "ada@example.com").await;
    let core = portfolio(&*db, &ada, "Core").await;
    let result = result_of("AAPL").portfolio(core.id).ttl(HOUR);
    let result = db.analyses().create(&result).await.expect("stored");
    let key = document_key("AAPL", None);
    db.market_cache().put(&key, &deep(1), &PutOptions::ttl(HOUR)).await.expect("stored");
    let json = deep(READABLE);
    let json = json.as_str();
    db.sql(&format!(
        "UPDATE analysis_results SET metadata = '{json}';
         UPDATE market_data_cache SET data = '{json}', parameters = '{json}';
         UPDATE users SET preferences = '{json}'"
    ))
    .await;

    let preferences = db.users().preferences(ada.id).await.expect("read").expect("settings");
    assert_eq!(preferences.decode::<Value>().expect("read"), deep_value(READABLE));
    let export = db.users().export(ada.id).await.expect("read").expect("an export");
    assert!(export.as_str().contains(&result.id.to_string()));
    let found = db.analyses().find(result.id).await.expect("read").expect("a row");
    assert_eq!(found.metadata_as::<Value>().expect("read"), Some(deep_value(READABLE)));
    for options in [CacheOptions::default(), every_level(&redis)] {
        let handle = process(&db, options);
        for _ in 0..2 {
            let never = |_| async { Err::<NewAnalysis, _>("computed again") };
            let again = handle.get_or_compute(&found.key(), &an_hour(), never).await;
            assert_eq!(*again.expect("found").value, found);
        }
        let page = PageRequest::first(10);
        let entries = handle.market_cache().list(&CacheFilter::default(), &page).await;
        let [entry] = <[_; 1]>::try_from(entries.expect("read").items).expect("one");
        let key = entry.key();
        assert_eq!(handle.market_cache().get(&key).await.expect("read"), Some(entry));
        for _ in 0..2 {
            let never = |_| async { Err::<Value, _>("fetched again") };
            let again = handle.cache().get_or_fetch::<Value>(&key, &an_hour(), never).await;
            assert_eq!(*again.expect("found").value, deep_value(READABLE));
        }
    }
}
