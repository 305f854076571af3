//! Watermarks of what results were computed from, as stored.

use buffetbot_db::Error;
use buffetbot_db::analyses::{AnalysisPatch, Inputs};
use buffetbot_db::prices::BarsDigest;

use super::{save, ticker, value_of};
use crate::support::handle::Handle;

conformance! {
    watermarks_are_read_as_stored,
    a_row_with_inputs_of_another_shape_can_be_read,
}

async fn watermarks_are_read_as_stored(handle: &impl Handle) {
    let analyses = handle.analyses();
    let stored = save(handle, &value_of("AAPL")).await;
    assert_eq!(stored.watermarks().expect("inputs"), None);
    let bars =
        Inputs::new().bars(BarsDigest { ticker: ticker("SPY"), digest: 9_007_199_254_740_993 });
    for inputs in [Some(Inputs::new()), Some(bars), None] {
        let patch = AnalysisPatch::default().inputs(inputs.clone());
        let changed = analyses.update(stored.id, &patch).await.expect("update");
        assert_eq!(changed.watermarks().expect("inputs"), inputs);
    }
}

async fn a_row_with_inputs_of_another_shape_can_be_read(handle: &impl Handle) {
    let stored = save(handle, &value_of("AAPL")).await;
    for text in [r#"{"fundamentals": 7}"#, r#"{"bars": {}}"#, "7"] {
        handle.sql(&format!("UPDATE analysis_results SET inputs = '{text}'")).await;
        let read = handle.analyses().find(stored.id).await.expect("find").expect("a result");
        assert_eq!(read.inputs.as_ref().map(|inputs| inputs.as_str()), Some(text));
        match read.watermarks() {
            Err(Error::Corrupt { table, column, .. }) => {
                assert_eq!((table.as_str(), column.as_str()), ("analysis_results", "inputs"));
            }
            other => panic!("{other:?}"),
        }
    }
}
