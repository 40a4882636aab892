//! Tests of candidates, trials and drift.

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256Plus;

use super::trial::Trial;
use super::*;
use crate::features::Learn;
use crate::learning::Settings;

const fn column(name: &'static str) -> Column {
    Column { name, unit: "", meaning: "", learn: Learn::Ratio }
}

const COLUMNS: [Column; 3] = [column("a"), column("b"), column("c")];

/// Rows around a place. Columns are independent.
fn rows(place: f64, rng: &mut Xoshiro256Plus) -> Array2<f64> {
    Array2::from_shape_fn((30, COLUMNS.len()), |_| place + rng.sample::<f64, _>(StandardNormal))
}

fn settings() -> Settings {
    Settings { clusters: Some(2), alpha: 1e-3, ..Settings::default() }
}

/// A learner that was trained on rows around a place.
fn learnt(place: f64, rng: &mut Xoshiro256Plus) -> Learner {
    let mut learner = Learner::new(COLUMNS.to_vec(), Settings { warm_up_batches: u32::MAX, ..settings() });
    for _ in 0..40 {
        learner.observe(rows(place, rng).view());
    }
    assert!(learner.fit());
    learner
}

/// A model of other traffic with its candidate. Tests count withheld rows as anomalies.
fn of_other_traffic(learner: Learner) -> Promotion {
    let mut promotion = Promotion::of_other_traffic(learner, settings());
    assert_eq!(promotion.events(), [ModelEvent::Withheld]);
    promotion
}

/// A different host for each row.
fn hosts(rows: usize) -> Vec<Address> {
    (0..rows as u32).map(Address::from_v4).collect()
}

fn anomalies(promotion: &mut Promotion, rows: &Array2<f64>) -> usize {
    let welcome = vec![Eligibility::Welcome; rows.nrows()];
    raised(&promotion.observe(rows.view(), &welcome, &hosts(rows.nrows())))
}

/// The number of anomalies, including withheld ones.
fn raised(verdicts: &[Option<Verdict>]) -> usize {
    verdicts.iter().flatten().filter(|verdict| verdict.anomaly || verdict.withheld).count()
}

#[test]
fn a_candidate_that_fits_local_traffic_replaces_a_model_of_other_traffic() {
    let mut rng = Xoshiro256Plus::seed_from_u64(1);
    let mut promotion = of_other_traffic(learnt(0.0, &mut rng));
    let mut events = Vec::new();
    for _ in 0..151 {
        anomalies(&mut promotion, &rows(40.0, &mut rng));
        events.extend(promotion.events());
    }
    assert!(matches!(events[0], ModelEvent::Suspicious { part } if part > 0.99), "{events:?}");
    assert!(
        matches!(events[1], ModelEvent::Promoted(Trial { rows: 900, anomalies, .. }) if anomalies < 5),
        "{events:?}"
    );
    assert!(anomalies(&mut promotion, &rows(40.0, &mut rng)) <= 1);
    assert_eq!(anomalies(&mut promotion, &rows(0.0, &mut rng)), 30);
}

#[test]
fn a_model_made_on_another_thread_is_the_same_and_delays_no_row() {
    let settings = Settings { warm_up_batches: 30, ..settings() };
    let mut on_path = Promotion::of(Learner::new(COLUMNS.to_vec(), settings.clone()));
    let mut beside = Promotion::of(Learner::new(COLUMNS.to_vec(), settings));
    beside.learn_beside();
    let mut rng = Xoshiro256Plus::seed_from_u64(5);
    for _ in 0..30 {
        let rows = rows(0.0, &mut rng);
        anomalies(&mut on_path, &rows);
        anomalies(&mut beside, &rows);
    }
    assert!(matches!(on_path.status(), Status::Ready { .. }));
    // The last batch started the job. The first batch after the job has ended takes the result.
    let none = Array2::zeros((0, COLUMNS.len()));
    while matches!(beside.status(), Status::WarmingUp { .. }) {
        std::thread::sleep(std::time::Duration::from_millis(1));
        anomalies(&mut beside, &none);
    }
    let rows = rows(3.0, &mut rng);
    assert_eq!(beside.acting().judge(rows.view()), on_path.acting().judge(rows.view()));
}

#[test]
fn an_attack_that_lasts_from_the_start_is_detected_again_and_again() {
    let mut rng = Xoshiro256Plus::seed_from_u64(2);
    let mut promotion = of_other_traffic(learnt(0.0, &mut rng));
    // One row in ten is the attacker's, in the warm-up, in the trial, and afterwards. A sequential test reports the
    // host of the row.
    let mut found = Vec::new();
    for _ in 0..90 {
        let mut rows = rows(0.0, &mut rng);
        rows.slice_mut(ndarray::s![..3, ..]).fill(15.0);
        let eligibility = |row| if row < 3 { Eligibility::Suspect } else { Eligibility::Welcome };
        let eligibility: Vec<Eligibility> = (0..rows.nrows()).map(eligibility).collect();
        found.push(raised(&promotion.observe(rows.view(), &eligibility, &hosts(rows.nrows()))));
    }
    assert!(found.iter().all(|found| (3..=5).contains(found)), "{found:?}");
    let events = promotion.events();
    // The promoted candidate was not trained on the attack, so that many rows are unusual to it too.
    assert!(matches!(events[..], [ModelEvent::Promoted(_), ModelEvent::Drift { .. }]), "{events:?}");
}

#[test]
fn a_candidate_that_raises_more_alarms_is_not_promoted() {
    let mut rng = Xoshiro256Plus::seed_from_u64(3);
    let mut promotion = of_other_traffic(learnt(0.0, &mut rng));
    for _ in 0..30 {
        anomalies(&mut promotion, &(rows(0.0, &mut rng) * 0.1));
    }
    for _ in 0..30 {
        anomalies(&mut promotion, &(rows(0.0, &mut rng) * 1.2));
    }
    let events = promotion.events();
    assert!(
        matches!(events[..], [ModelEvent::Failed(Trial { unusual, rows, .. })] if unusual > rows / 10),
        "{events:?}"
    );
    assert!(matches!(promotion.candidate_status(), Some(Status::WarmingUp { .. })));
}

/// Batches consist almost only of a scan. Its host is in an incident from the first batch of each scan until some
/// batches after it.
#[test]
fn a_repeated_scan_from_the_start_is_not_trained_on() {
    let mut rng = Xoshiro256Plus::seed_from_u64(5);
    let mut promotion = of_other_traffic(learnt(0.0, &mut rng));
    let mut found = Vec::new();
    for _ in 0..6 {
        for batch in 0..60 {
            let mut rows = rows(0.0, &mut rng);
            let is_scan = batch < 40;
            if is_scan {
                rows.slice_mut(ndarray::s![2.., ..]).mapv_inplace(|value| 15.0 + 0.1 * value);
            }
            let eligibility = |row| match row >= 2 && batch < 50 {
                true => Eligibility::Suspect,
                false => Eligibility::Welcome,
            };
            let eligibility: Vec<Eligibility> = (0..30).map(eligibility).collect();
            let verdicts = promotion.observe(rows.view(), &eligibility, &hosts(rows.nrows()));
            if is_scan {
                found.push(raised(&verdicts[2..]));
            }
        }
    }
    assert!(found.iter().all(|found| *found == 28), "{found:?}");
    let events = promotion.events();
    assert!(events.iter().any(|event| matches!(event, ModelEvent::Promoted(_))), "{events:?}");
}

/// A candidate that was trained on an attack raises no alarm about it and therefore fails.
#[test]
fn a_candidate_that_misses_the_anomalies_of_incidents_is_not_promoted() {
    let trial = Trial { rows: 1000, incident: [300, 0], ..Trial::default() };
    assert!(!trial.is_passed(1e-4));
    assert!(Trial { incident: [300, 290], ..trial }.is_passed(1e-4));
    assert!(Trial { incident: [300, 290], unusual: 20, ..trial }.is_passed(1e-4));
    assert!(!Trial { incident: [300, 290], unusual: 60, ..trial }.is_passed(1e-4));
    assert!(!Trial { incident: [0, 0], anomalies: 4, ..trial }.is_passed(1e-4));
}

#[test]
fn a_change_of_traffic_is_reported_and_followed() {
    let mut rng = Xoshiro256Plus::seed_from_u64(4);
    let mut promotion = Promotion::of(learnt(0.0, &mut rng));
    for _ in 0..200 {
        anomalies(&mut promotion, &rows(0.0, &mut rng));
    }
    assert_eq!(promotion.events(), []);
    for _ in 0..100 {
        anomalies(&mut promotion, &rows(3.5, &mut rng));
    }
    let events = promotion.events();
    assert!(matches!(events[..], [ModelEvent::Drift { part }] if part > 0.05), "{events:?}");
    for _ in 0..2600 {
        anomalies(&mut promotion, &rows(3.5, &mut rng));
    }
    let events = promotion.events();
    assert!(events.iter().any(|event| matches!(event, ModelEvent::Promoted(_))), "{events:?}");
}
