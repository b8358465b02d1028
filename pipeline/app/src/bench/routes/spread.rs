//! Quantiles of measured times.

use serde_json::{Value, json};

/// The value below which this share of the values lies; 0 without any.
pub(in crate::bench) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let index = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(index).copied().unwrap_or(0.0)
}

/// The value in the middle.
pub(in crate::bench) fn median(values: &[f64]) -> f64 {
    quantile(&mut values.to_vec(), 0.5)
}

/// Both quantiles that reports have.
pub(in crate::bench) fn p50_p99(values: &mut [f64]) -> Value {
    json!({ "p50": rounded(quantile(values, 0.5)), "p99": rounded(quantile(values, 0.99)) })
}

/// Three digits after the point: more is noise.
pub(in crate::bench) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(p50_p99(&mut values), json!({ "p50": 51.0, "p99": 100.0 }));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
