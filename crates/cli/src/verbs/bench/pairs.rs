//! Figures measured in pairs, so that a machine's drift cancels: one of a pair with something, one without.

use serde::Serialize;
use serde_json::Value;

/// Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom; more are taken as 10.
const T95: [f64; 10] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23];

/// What pairs differ by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// How many pairs.
    pub pairs: usize,
    /// On the mean.
    pub mean: f64,
    /// In the middle.
    pub median: f64,
    /// The mean is above this and below the next, by 95 % (Student's t); nothing is said by one pair.
    pub low: Option<f64>,
    /// See above.
    pub high: Option<f64>,
    /// Whether that leaves out 0: there is a difference, one way or the other.
    pub measurable: bool,
}

/// What the first of each pair is above the second.
pub fn difference(pairs: &[(f64, f64)]) -> Option<Difference> {
    let mut each: Vec<f64> = pairs.iter().map(|(with, without)| with - without).collect();
    each.sort_by(f64::total_cmp);
    let median = middle(&each)?;
    let count = as_float(each.len());
    let mean = each.iter().sum::<f64>() / count;
    let bounds = each.len().checked_sub(2).map(|at| {
        let squares: f64 = each.iter().map(|one| (one - mean).powi(2)).sum();
        let error = (squares / (count - 1.0) / count).sqrt();
        let t = T95.get(at).or(T95.last()).copied().unwrap_or_default();
        (mean - t * error, mean + t * error)
    });
    Some(Difference {
        pairs: each.len(),
        mean,
        median,
        low: bounds.map(|(low, _)| low),
        high: bounds.map(|(_, high)| high),
        measurable: bounds.is_some_and(|(low, high)| low > 0.0 || high < 0.0),
    })
}

/// The middle of sorted figures.
fn middle(sorted: &[f64]) -> Option<f64> {
    let (low, high) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

fn as_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Figures in short: how many, median, 99th of hundred, most.
pub fn in_short(figures: &[f64]) -> Value {
    let mut all = figures.to_vec();
    all.sort_by(f64::total_cmp);
    serde_json::json!({
        "n": all.len(), "median": at(&all, 50), "p99": at(&all, 99), "max": all.last(),
    })
}

/// The figure that so many hundredths of all are not above.
pub fn at(sorted: &[f64], hundredths: usize) -> Option<f64> {
    let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_is_no_difference_and_a_difference_under_drift_is_seen() {
        // The machine gets slower all the time; the second of each pair is first in every other one.
        let drift = [(1.0, 1.1), (1.3, 1.2), (1.4, 1.5), (1.7, 1.6)];
        let none = difference(&drift).expect("pairs");
        assert!(none.mean.abs() < 1e-9 && !none.measurable, "{none:?}");
        let dearer = drift.map(|(with, without)| (with + 1.0, without));
        let some = difference(&dearer).expect("pairs");
        assert!((some.mean - 1.0).abs() < 1e-9 && some.measurable, "{some:?}");
        let cheaper = drift.map(|(with, without)| (with - 1.0, without));
        assert!(difference(&cheaper).expect("pairs").measurable, "less is a difference too");
    }

    #[test]
    fn bounds_are_those_of_students_t() {
        let known = difference(&[(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)]).expect("pairs");
        assert!((known.mean - 2.0).abs() < 1e-9 && (known.median - 2.0).abs() < 1e-9);
        let high = known.high.expect("three pairs");
        assert!((high - (2.0 + 4.30 / 3.0_f64.sqrt())).abs() < 1e-9, "{high}");
        let one = difference(&[(5.0, 1.0)]).expect("a pair");
        assert!(one.low.is_none() && !one.measurable, "one pair says nothing");
        assert_eq!(difference(&[]), None);
    }

    #[test]
    fn hundredths_and_the_middle_are_exact() {
        let all: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            (at(&all, 50), at(&all, 99), at(&all, 100)),
            (Some(100.0), Some(198.0), Some(200.0))
        );
        assert_eq!((at(&[7.0], 99), at(&[], 50)), (Some(7.0), None));
        assert_eq!(
            (middle(&[1.0, 2.0, 3.0]), middle(&[1.0, 4.0]), middle(&[])),
            (Some(2.0), Some(2.5), None)
        );
    }
}
