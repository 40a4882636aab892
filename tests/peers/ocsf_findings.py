"""Reads Detection Findings with py-ocsf-models, one JSON object per line, and prints what the models read."""

import json
import sys

from py_ocsf_models.events.findings.detection_finding import DetectionFinding

for line in sys.stdin.read().splitlines():
    # Types are not converted: a number that is written as a text is an error.
    finding = DetectionFinding.model_validate_json(line, strict=True)
    attacks = finding.finding_info.attacks or []
    print(json.dumps({
        "uid": finding.finding_info.uid,
        "kind": finding.finding_info.title,
        "activity": finding.activity_id.name,
        "type": finding.type_uid.value,
        "severity": finding.severity_id.name,
        "status": finding.status_id.name,
        "message": finding.message,
        "techniques": [attack.technique.uid for attack in attacks],
        "addresses": [observable.value for observable in finding.observables],
    }))
