//! How well incidents are told apart, over many fleets.

use evenkeel_sim::incidents::{CAUSES, score};

#[test]
fn causes_are_named_in_nearly_every_fleet_and_noise_is_no_cause() {
    let scores = score(0..150);
    for cause in CAUSES {
        let score = scores[cause];
        println!("{cause}: {score:?}");
    }
    for cause in CAUSES {
        let score = scores[cause];
        let (right, wrong) = (score.right * 100 / score.runs, score.wrong * 100 / score.runs);
        assert!(right >= 93, "{cause}: {score:?}");
        assert!(wrong <= 5, "{cause}: {score:?}");
    }
}
