//! Changes of price.

use buffetbot_db::prices::{Returns, closes, returns, total_return};

use super::{bar, day};

#[test]
fn returns_are_fractions_of_the_close_before() {
    let closes = [100.0, 110.0, 99.0];
    let simple = returns(&closes, Returns::Simple);
    assert!(simple[0].is_nan());
    assert!((simple[1] - 0.1).abs() < 1e-12 && (simple[2] + 0.1).abs() < 1e-12, "{simple:?}");
    let log = returns(&closes, Returns::Log);
    assert!(log[0].is_nan() && (log[1] - 1.1f64.ln()).abs() < 1e-12);
    // Logarithms of several periods add up.
    let total = total_return(&closes, Returns::Log).expect("two prices above zero");
    assert!((log[1] + log[2] - total).abs() < 1e-12);
    let total = total_return(&closes, Returns::Simple).expect("two prices above zero");
    assert!((total + 0.01).abs() < 1e-12);
}

#[test]
fn where_they_mean_nothing_there_is_none() {
    for kind in [Returns::Simple, Returns::Log] {
        assert!(returns(&[], kind).is_empty());
        assert_eq!(total_return(&[], kind), None);
        assert_eq!(total_return(&[5.0], kind), None);
        let odd = [1.0, 0.0, 1.0, -1.0, f64::NAN, 1.0, f64::INFINITY];
        let all = returns(&odd, kind);
        assert_eq!(all.len(), odd.len());
        assert!(all.iter().all(|change| change.is_nan()), "{all:?}");
        assert_eq!(total_return(&[0.0, 1.0], kind), None);
        // The ends count.
        assert!(total_return(&[1.0, 0.0, 2.0], kind).is_some());
    }
    let bars = [bar(day("2024-01-02"), [None, None, None, Some(125)], None)];
    assert_eq!(closes(&bars), [1.25]);
}
