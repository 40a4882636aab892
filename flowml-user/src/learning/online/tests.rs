//! Tests of the learner through its public interface.

use std::path::{Path, PathBuf};

use ndarray::{Array2, Axis, array, concatenate, s};
use rand::Rng;
use rand_distr::LogNormal;

use super::synthetic::{self, ATTACKER, Attack, Network, VICTIM};
use super::*;
use crate::features::Column;
use crate::features::Learn;
use crate::learning::{Below, ModelError, TrafficModel};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256Plus;

const MIXED: [Column; 4] = [
    Column { name: "packets", unit: "packets", meaning: "", learn: Learn::LogScaled },
    Column { name: "bytes", unit: "bytes", meaning: "", learn: Learn::LogScaled },
    Column { name: "syn_share", unit: "share", meaning: "", learn: Learn::Ratio },
    Column { name: "protocol", unit: "", meaning: "", learn: Learn::Category },
];

/// Rows from a mixture of three kinds of flows with log-normal sizes.
fn mixture(rows: usize, rng: &mut Xoshiro256Plus) -> Array2<f64> {
    let mut values = Vec::with_capacity(rows * MIXED.len());
    for _ in 0..rows {
        let (packets, size, syn, protocol) =
            [(3.0, 80.0, 0.0, 17.0), (20.0, 700.0, 0.1, 6.0), (900.0, 1300.0, 0.01, 6.0)]
                [[0, 0, 0, 1, 1, 2][rng.gen_range(0..6)]];
        let packets = packets * rng.sample(LogNormal::new(0.0, 0.6).expect("finite"));
        let bytes = packets * size * rng.sample(LogNormal::new(0.0, 0.3).expect("finite"));
        values.extend([packets, bytes, syn * rng.gen_range(0.5..1.5), protocol]);
    }
    Array2::from_shape_vec((rows, MIXED.len()), values).expect("four values a row")
}

/// A learner of eight clusters after a warm-up with `rows` rows of the mixture, and its random number generator.
fn trained(rows: usize, settings: &Settings) -> (Learner, Xoshiro256Plus) {
    let mut rng = Xoshiro256Plus::seed_from_u64(settings.seed + 1000);
    let settings = Settings { clusters: Some(8), warm_up_rows: rows, ..settings.clone() };
    let mut learner = Learner::new(MIXED.to_vec(), settings);
    let batches = learner.settings().warm_up_batches;
    for _ in 0..batches {
        let verdicts = learner.observe(mixture(rows.div_ceil(batches as usize), &mut rng).view());
        assert!(verdicts.iter().all(Option::is_none));
    }
    assert!(matches!(learner.status(), Status::Ready { .. }), "{}", learner.status());
    (learner, rng)
}

fn verdicts(learner: &mut Learner, rows: &Array2<f64>) -> Vec<Verdict> {
    learner.observe(rows.view()).into_iter().map(|verdict| verdict.expect("the warm-up is over")).collect()
}

/// The path of a test's model file.
fn model_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("flowml-model-{}-{name}.json", std::process::id()))
}

#[test]
fn the_false_alarm_rate_is_about_alpha() {
    for (alpha, batches) in [(0.01, 300), (0.001, 1200)] {
        let settings = Settings { alpha, ..Settings::default() };
        let (mut learner, mut rng) = trained(1500, &settings);
        let mut flagged = 0;
        for _ in 0..batches {
            let rows = mixture(50, &mut rng);
            flagged += verdicts(&mut learner, &rows).iter().filter(|verdict| verdict.anomaly).count();
        }
        let rate = flagged as f64 / f64::from(batches * 50);
        assert!(rate > alpha / 2.0 && rate < alpha * 2.0, "{rate} for {alpha}");
    }
}

#[test]
fn probabilities_of_later_normal_rows_are_uniform() {
    let (mut learner, mut rng) =
        trained(600, &Settings { calibration_scores: 2000, learnt_rows_per_batch: 100, ..Settings::default() });
    (0..30).for_each(|_| drop(verdicts(&mut learner, &mixture(100, &mut rng))));
    let mut probabilities: Vec<f64> = (0..100)
        .flat_map(|_| verdicts(&mut learner, &mixture(50, &mut rng)))
        .map(|verdict| verdict.probability)
        .collect();
    probabilities.sort_unstable_by(f64::total_cmp);
    let n = probabilities.len() as f64;
    for (place, probability) in probabilities.iter().enumerate() {
        let expected = (place as f64 + 0.5) / n;
        assert!((probability - expected).abs() < 0.08, "{probability} at {expected}");
    }
}

#[test]
fn a_dense_attack_at_test_time_does_not_look_normal() {
    let (mut learner, mut rng) = trained(600, &Settings::default());
    let attack =
        Array2::from_shape_fn((3000, 4), |(_, column)| [1.0, 60.0, 1.0, 6.0][column] * rng.gen_range(0.99..1.01));
    let normal = mixture(300, &mut rng);
    let (mut attacks, mut others) = (Vec::new(), Vec::new());
    for batch in 0..20 {
        let attack = attack.slice(s![batch * 150..(batch + 1) * 150, ..]);
        let normal = normal.slice(s![batch * 15..(batch + 1) * 15, ..]);
        let found = verdicts(&mut learner, &concatenate![Axis(0), attack, normal]);
        let mut scores = found.iter().map(|verdict| verdict.score);
        attacks.extend(scores.by_ref().take(150));
        others.extend(scores);
    }
    let pairs = attacks.iter().flat_map(|a| others.iter().map(move |o| f64::from(u8::from(a > o))));
    let auroc = pairs.sum::<f64>() / (attacks.len() * others.len()) as f64;
    assert!(auroc > 0.98, "{auroc}");
}

#[test]
fn suspicious_rows_are_not_trained_on() {
    let (mut learner, _) = trained(600, &Settings::default());
    let centroids = |learner: &Learner| {
        let fitted = learner.fitted().expect("the warm-up is over");
        (fitted.clusters.clone(), fitted.typical.clone())
    };
    let before = centroids(&learner);
    let flood = Array2::from_shape_fn((500, 4), |(_, column)| [1e6, 1e9, 1.0, 6.0][column]);
    for _ in 0..50 {
        assert!(verdicts(&mut learner, &flood).iter().all(|verdict| verdict.anomaly));
    }
    assert_eq!(before, centroids(&learner));
}

#[test]
fn slowly_drifting_normal_rows_stay_normal() {
    let (mut learner, mut rng) =
        trained(1000, &Settings { half_life_batches: 50.0, alpha: 1e-3, ..Settings::default() });
    let mut flagged = 0;
    for batch in 0..600 {
        let mut rows = mixture(20, &mut rng);
        // Sizes grow eightfold over the run.
        let growth = 8.0_f64.powf(f64::from(batch) / 600.0);
        rows.slice_mut(s![.., 0..2]).mapv_inplace(|value| value * growth);
        flagged += verdicts(&mut learner, &rows).iter().filter(|verdict| verdict.anomaly).count();
    }
    assert!(flagged < 60, "{flagged} of 12000 rows");
}

#[test]
fn the_same_rows_and_seed_give_the_same_verdicts() {
    let run = || {
        let (mut learner, mut rng) = trained(400, &Settings { learnt_rows_per_batch: 16, ..Settings::default() });
        (0..5).flat_map(|_| verdicts(&mut learner, &mixture(40, &mut rng))).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

fn save(learner: &Learner, path: &Path) -> Result<(), ModelError> {
    TrafficModel::write(path, &[("rows", learner)])
}

fn load(path: &Path, columns: Vec<Column>) -> Result<Learner, ModelError> {
    assert!(TrafficModel::read(path)?.learner("others", columns.clone())?.is_none());
    Ok(TrafficModel::read(path)?.learner("rows", columns)?.expect("it was saved under this name"))
}

#[test]
fn a_loaded_learner_continues_like_the_saved_one() {
    let path = model_path("round-trip");
    let (mut learner, mut rng) = trained(400, &Settings { learnt_rows_per_batch: 16, ..Settings::default() });
    verdicts(&mut learner, &mixture(40, &mut rng));
    save(&learner, &path).expect("saved");
    let mut loaded = load(&path, MIXED.to_vec()).expect("loaded");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(loaded.settings(), learner.settings());
    assert_eq!(loaded.clusters(), learner.clusters());
    for _ in 0..5 {
        let mut rows = mixture(40, &mut rng);
        rows[[0, 0]] = 1e7;
        assert_eq!(verdicts(&mut loaded, &rows), verdicts(&mut learner, &rows));
    }
}

#[test]
fn a_model_of_other_features_is_refused_naming_the_first_difference() {
    let path = model_path("other-features");
    save(&trained(400, &Settings::default()).0, &path).expect("saved");
    let refusal = |columns: &[Column]| load(&path, columns.to_vec()).expect_err("refused").to_string();
    let mut renamed = MIXED;
    renamed[1].name = "octets";
    let message = refusal(&renamed);
    assert!(
        message.contains("feature 2") && message.contains("\"bytes\"") && message.contains("\"octets\""),
        "{message}"
    );
    let mut other_unit = MIXED;
    other_unit[0].unit = "kilopackets";
    assert!(refusal(&other_unit).contains("kilopackets"));
    let mut otherwise_learnt = MIXED;
    otherwise_learnt[2].learn = Learn::Never;
    assert!(refusal(&otherwise_learnt).contains("\"syn_share\""));
    assert!(refusal(&MIXED[..3]).contains("\"protocol\""));
    let longer = [&MIXED[..], &[Column { name: "ttl", unit: "", meaning: "", learn: Learn::Never }]].concat();
    assert!(refusal(&longer).contains("\"ttl\""));
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn invalid_and_missing_model_files_are_refused() {
    let path = model_path("no-model");
    let message = load(&path, MIXED.to_vec()).expect_err("missing").to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    save(&trained(400, &Settings::default()).0, &path).expect("saved");
    let good = std::fs::read_to_string(&path).expect("read");
    let broken = [
        String::new(),
        "[1, 2".to_owned(),
        good.replacen("\"version\": 7", "\"version\": 6", 1),
        good.replacen("\"flowml-model\"", "\"other\"", 1),
        good.replacen("\"width\"", "\"wide\"", 1),
        good.replacen("\"features_hash\": \"", "\"features_hash\": \"0", 1),
        good.replacen("\"k\":", "\"k\":1", 1),
        good[..good.len() / 2].to_owned(),
    ];
    for text in broken {
        assert_ne!(text, good);
        std::fs::write(&path, &text).expect("written");
        let refused = load(&path, MIXED.to_vec());
        assert!(matches!(refused, Err(ModelError::NotAModel { .. })), "{refused:?}");
    }
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn nothing_is_saved_while_warming_up() {
    let learner = Learner::new(MIXED.to_vec(), Settings::default());
    let refused = save(&learner, &model_path("warming-up")).expect_err("refused");
    assert!(
        matches!(refused, ModelError::NotReady(_)) && refused.to_string().contains("rows: warming up: 0 of 300 rows"),
        "{refused}"
    );
}

#[test]
fn the_status_shows_what_is_missing() {
    let mut rng = Xoshiro256Plus::seed_from_u64(1);
    let mut learner = Learner::new(MIXED.to_vec(), Settings::default());
    learner.observe(mixture(312, &mut rng).slice(s![..100, ..]));
    assert_eq!(learner.status().to_string(), "warming up: 100 of 300 rows");
    learner.observe(mixture(200, &mut rng).view());
    assert_eq!(learner.status().to_string(), "warming up: 2 of 30 intervals");
    (0..28).for_each(|_| drop(learner.observe(mixture(0, &mut rng).view())));
    assert!(learner.status().to_string().starts_with("ready: "), "{}", learner.status());
}

#[test]
fn degenerate_rows_are_scored_without_panic() {
    let nan = Array2::from_elem((20, 4), f64::NAN);
    let same = Array2::from_elem((20, 4), 5.0);
    let infinite =
        Array2::from_shape_fn((20, 4), |(row, _)| [f64::INFINITY, f64::NEG_INFINITY, -1e308, 1e308][row % 4]);
    let empty = Array2::zeros((0, 4));
    let mut rng = Xoshiro256Plus::seed_from_u64(2);
    let normal = mixture(20, &mut rng);
    for warm_up in [&nan, &same, &infinite, &normal] {
        for rows in [0, 1, 3, 20] {
            let settings =
                Settings { warm_up_rows: rows, warm_up_batches: 1, clusters: Some(50), ..Settings::default() };
            let mut learner = Learner::new(MIXED.to_vec(), settings);
            learner.observe(warm_up.slice(s![..rows.max(1), ..]));
            assert!(matches!(learner.status(), Status::Ready { .. }));
            for test in [&empty, &nan, &same, &infinite, &normal] {
                for verdict in verdicts(&mut learner, test) {
                    assert!(verdict.score.is_finite() && (0.0..=1.0).contains(&verdict.probability), "{verdict:?}");
                }
            }
            assert!(!learner.clusters().is_empty());
        }
    }
}

#[test]
fn tables_with_one_column_learnt_or_not_are_accepted() {
    for learn in [Learn::LogScaled, Learn::Ratio, Learn::Category, Learn::Never] {
        let column = Column { name: "x", unit: "", meaning: "", learn };
        let mut learner = Learner::new(vec![column], Settings { warm_up_batches: 1, ..Settings::default() });
        learner.observe(Array2::from_shape_fn((300, 1), |(row, _)| (row % 7) as f64).view());
        let found = verdicts(&mut learner, &array![[3.0], [1e12]]);
        assert!(found.iter().all(|verdict| verdict.score.is_finite()));
        assert_eq!(found[1].score > found[0].score, learn != Learn::Never, "{learn:?}");
    }
}

#[test]
fn a_warm_up_of_equal_rows_tolerates_small_noise() {
    let row = [10.0, 5000.0, 0.1, 6.0];
    let mut learner = Learner::new(MIXED.to_vec(), Settings { warm_up_batches: 1, ..Settings::default() });
    learner.observe(Array2::from_shape_fn((300, 4), |(_, column)| row[column]).view());
    let found = verdicts(&mut learner, &array![row, [11.0, 5200.0, 0.12, 6.0], [10_000.0, 5e6, 0.1, 6.0]]);
    assert!(!found[0].anomaly && !found[1].anomaly, "{found:?}");
    assert!(found[2].anomaly, "{found:?}");
}

#[test]
fn a_huge_batch_is_scored_completely_and_learnt_partly() {
    let (mut learner, mut rng) = trained(400, &Settings { learnt_rows_per_batch: 64, ..Settings::default() });
    let size = |learner: &Learner| learner.clusters().iter().map(|cluster| cluster.size).sum::<f64>();
    let before = size(&learner);
    assert_eq!(verdicts(&mut learner, &mixture(5000, &mut rng)).len(), 5000);
    assert!(size(&learner) <= before + 64.0);
}

#[test]
fn cluster_summaries_are_in_raw_units() {
    let (learner, _) = trained(600, &Settings::default());
    let clusters = learner.clusters();
    assert!((clusters.iter().map(|cluster| cluster.share).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(clusters.windows(2).all(|pair| pair[0].share >= pair[1].share));
    let large = clusters.iter().flat_map(|cluster| &cluster.typical).any(|value| {
        value.column == "bytes" && value.value > 200_000.0 && value.low <= value.value && value.value <= value.high
    });
    assert!(large, "{clusters:?}");
}

#[test]
fn explains_normal_rows_on_request() {
    let (learner, _) = trained(600, &Settings::default());
    let reasons = learner.explain(array![1e7, 1e10, 0.01, 6.0].view());
    assert!(reasons.iter().any(|reason| reason.column == "bytes" && reason.value == 1e10), "{reasons:?}");
    assert!(Learner::new(MIXED.to_vec(), Settings::default()).explain(array![1.0, 1.0, 1.0, 6.0].view()).is_empty());
}

/// A learner after a warm-up in a small network, with an attack in the seconds for which `attacked` returns one.
fn watching(hosts: usize, seed: u64, attacked: impl Fn(usize) -> Option<Attack>) -> (Learner, Network) {
    let mut network = Network::new(hosts, seed);
    let mut learner =
        Learner::new(synthetic::columns(), Settings { seed, below: Below::PAUSES, ..Settings::default() });
    let mut second = 0;
    while matches!(learner.status(), Status::WarmingUp { .. }) {
        learner.observe(network.second(attacked(second)).0.view());
        second += 1;
        assert!(second < 200, "{}", learner.status());
    }
    (learner, network)
}

/// Whether each host was an anomaly within the first `seconds` of an attack, and the reasons for the attacker's
/// anomalies.
fn attack(learner: &mut Learner, network: &mut Network, attack: Attack, seconds: usize) -> ([bool; 2], String) {
    let (mut found, mut reasons) = ([false; 2], String::new());
    for _ in 0..seconds {
        let (rows, hosts) = network.second(Some(attack));
        for (verdict, host) in verdicts(learner, &rows).into_iter().zip(hosts) {
            if verdict.anomaly && (host == ATTACKER || host == VICTIM) {
                found[host] = true;
                if host == ATTACKER {
                    reasons = one_line(&verdict.reasons);
                }
            }
        }
    }
    (found, reasons)
}

#[test]
fn scans_and_floods_in_a_small_network_are_detected_within_three_intervals() {
    for hosts in [4, 10] {
        for seed in 0..3 {
            let (learner, mut network) = watching(hosts, seed, |_| None);
            for (kind, expected) in [(Attack::Scan, "dst ports"), (Attack::SynFlood, "src new flows")] {
                let (found, reasons) = attack(&mut learner.clone(), &mut network, kind, 3);
                assert_eq!(found, [true; 2], "{kind:?} among {hosts} hosts, seed {seed}");
                assert!(reasons.contains(expected), "{kind:?}: {reasons}");
                (0..3).for_each(|_| drop(network.second(None)));
            }
        }
    }
}

#[test]
fn floods_of_one_flow_and_sweeps_are_detected_among_ten_hosts() {
    let (learner, mut network) = watching(10, 30, |_| None);
    for (kind, expected) in [(Attack::UdpFlood, "packets out"), (Attack::Sweep, "src peers")] {
        let (found, reasons) = attack(&mut learner.clone(), &mut network, kind, 3);
        assert!(found[ATTACKER] && reasons.contains(expected), "{kind:?}: {reasons}");
        (0..3).for_each(|_| drop(network.second(None)));
    }
}

#[test]
fn five_minutes_of_normal_windows_raise_at_most_a_few_alarms() {
    let (mut flagged, mut rows) = (0, 0);
    for (hosts, seed) in [(4, 20), (10, 22)] {
        let (mut learner, mut network) = watching(hosts, seed, |_| None);
        for _ in 0..300 {
            let found = verdicts(&mut learner, &network.second(None).0);
            rows += found.len();
            flagged += found.iter().filter(|verdict| verdict.anomaly).count();
        }
    }
    assert!(flagged <= 5, "{flagged} of {rows}");
}

#[test]
fn a_scan_during_a_tenth_of_the_warm_up_does_not_hide_the_next_one() {
    for seed in 40..42 {
        let during = |second| (10..13).contains(&second).then_some(Attack::Scan);
        let (mut learner, mut network) = watching(10, seed, during);
        let (found, _) = attack(&mut learner, &mut network, Attack::Scan, 3);
        assert!(found[ATTACKER], "seed {seed}");
    }
}

#[test]
fn suspect_and_surplus_rows_are_not_trained_on() {
    let (learner, mut rng) = trained(400, &Settings::default());
    let probability = |learner: &Learner, row: &Array2<f64>| {
        learner.judge(row.view())[0].as_ref().expect("the warm-up is over").probability
    };
    // Unusual enough that training on it changes its probability, and still eligible for training.
    let rows = std::iter::repeat_with(|| mixture(1, &mut rng));
    let unusual = rows.take(2000).find(|row| (0.12..0.2).contains(&probability(&learner, row))).expect("one in twenty");
    let after = |eligibility: Eligibility| {
        let mut learner = learner.clone();
        (0..100).for_each(|_| drop(learner.observe_choosing(unusual.view(), |_| eligibility)));
        probability(&learner, &unusual)
    };
    let before = probability(&learner, &unusual);
    assert_eq!([Eligibility::Suspect, Eligibility::Surplus].map(after), [before; 2]);
    assert!(after(Eligibility::Welcome) > before);
}
