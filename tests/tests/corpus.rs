//! Makes a small corpus without attack tools, and checks that its rules label its attacks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use flowml_tests::corpus::{self, ATTACKS, BENIGN, Equipment, Labelled, Plan, Split, labelled};
use flowml_tests::lab::require_lab;

#[test]
fn rules_label_the_attacks_of_their_own_part_and_not_of_the_other() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let plan = Plan {
        folder: folder.path().to_owned(),
        normal: Duration::from_secs(3),
        seed: 1,
        equipment: Equipment::Laboratory,
        classes: Vec::new(),
        live: false,
    };
    let pasts = corpus::make(&lab, &plan)?.attacks;
    let expected = ATTACKS.iter().filter(|attack| attack.equipment == Equipment::Laboratory).map(|attack| attack.class);
    let expected: BTreeSet<&str> = expected.collect();
    for part in Split::ALL {
        let made = pasts.iter().filter(|past| past.part == part);
        assert_eq!(made.map(|past| past.attack.class).collect::<BTreeSet<_>>(), expected, "{}", part.name());
    }

    let [train, test] = Split::ALL.map(|part| plan.folder.join(part.name()));
    let tables = tempfile::tempdir()?;
    let own = labelled(&test.join("attacks.pcap"), &test.join("attacks.toml"), tables.path())?;
    let labels: BTreeSet<&str> = own.keys().map(String::as_str).collect();
    assert_eq!(labels, expected.into_iter().chain([BENIGN]).collect());
    let others = labelled(&test.join("attacks.pcap"), &train.join("attacks.toml"), tables.path())?;
    assert_eq!(others.keys().collect::<Vec<_>>(), [BENIGN]);
    let total = |counts: &BTreeMap<String, Labelled>| counts.values().map(|count| count.packets).sum::<u64>();
    assert_eq!(total(&own), total(&others));
    Ok(())
}

#[test]
fn an_unknown_class_is_reported_before_anything_is_made() {
    let Some(lab) = require_lab() else { return };
    let folder = tempfile::tempdir().expect("there is room");
    let plan = Plan {
        folder: folder.path().join("corpus"),
        normal: Duration::ZERO,
        seed: 1,
        equipment: Equipment::Corpus,
        classes: vec!["syn_scam".to_owned()],
        live: false,
    };
    let error = corpus::make(&lab, &plan).expect_err("there is no such class").to_string();
    assert!(error.contains("syn_scam") && error.contains("syn_scan"), "{error}");
    assert!(!plan.folder.exists());
}
