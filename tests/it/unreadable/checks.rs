//! The doctor names rows from before a check; they hold up nothing.

use buffetbot_db::*;

use crate::support::{database, parsed, raw};

#[tokio::test]
async fn b7_the_doctor_names_rows_that_cannot_be_read() {
    let db = database(2).await;
    let rows = |diagnosis: Diagnosis| -> Vec<Finding> {
        diagnosis.findings.into_iter().filter(|finding| finding.what == "rows").collect()
    };
    assert_eq!(rows(db.doctor().await.expect("examined")), []);
    let new = [parsed("A"), parsed("B")].map(|t| NewAnalysis::new(t, AnalysisType::Value));
    let made = db.analyses().create_many(&new).await.expect("results");
    let other = raw(db.url()).await;
    let bad = made[0].id;
    other
        .batch_execute(&format!(
            "ALTER TABLE analysis_results DROP CONSTRAINT analysis_results_times_readable;
             UPDATE analysis_results SET created_at = 'infinity' WHERE id = '{bad}';
             ALTER TABLE analysis_results ADD CONSTRAINT analysis_results_times_readable
                 CHECK (created_at < '262143-01-01Z') NOT VALID"
        ))
        .await
        .expect("a row from before the check");
    let found = rows(db.doctor().await.expect("examined"));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!((finding.severity, &*finding.object), (Severity::Warning, "analysis_results"));
    assert!(finding.message.contains(&bad.to_string()), "{finding}");
    assert!(!finding.message.contains(&made[1].id.to_string()), "{finding}");
    // The check refuses changes that leave the row as it is, but not an invalidation.
    let selector = AnalysisSelector {
        analysis_type: Some(AnalysisType::Value),
        ..AnalysisSelector::default()
    };
    assert_eq!(db.analyses().invalidate(&selector).await.expect("invalidated"), 2);
}
