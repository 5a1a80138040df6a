-- Views for the fourteen questions of quality assurance (docs/audit.md has an example query for each).
-- One text for SQLite and PostgreSQL. SECONDS(later, earlier) and DETAIL(body, key) are filled in by
-- database/migrations/views.py, where the dialects differ. Times are UTC.

-- 1 What arrived and was not used, and why.
CREATE VIEW v_unused AS
SELECT 'series' AS what, series_instance_uid AS uid, study_instance_uid, patient_id, modality, role,
       state, reason_code, reason, instances, last_received_at
  FROM series
 WHERE state IN ('UNUSED', 'REFUSED', 'WAITING')
UNION ALL
SELECT 'instance', sop_instance_uid, '', '', '', '',
       state, state, reason, 1, received_at
  FROM instances
 WHERE state IN ('QUARANTINED', 'DISMISSED', 'CONFLICT');

-- 2 Which cycles are not finished, what they wait for, and since when.
CREATE VIEW v_unfinished_cycles AS
SELECT c.id AS cycle_id, c.patient_id, c.nuclide, c.state, c.state_since,
       SECONDS(CURRENT_TIMESTAMP, c.state_since) / 3600.0 AS hours_in_state,
       c.reasons, c.opened_at,
       (SELECT COUNT(*) FROM time_points t WHERE t.cycle_id = c.id) AS time_points,
       (SELECT MAX(t.acquired_at) FROM time_points t WHERE t.cycle_id = c.id) AS last_acquired_at
  FROM cycles c
 WHERE c.state NOT IN ('DELIVERED', 'CLOSED');

-- 3 What was sent to whom, with what status; what was never confirmed by storage commitment.
CREATE VIEW v_deliveries AS
SELECT d.id AS delivery_id, d.peer, d.state, d.attempts, d.last_status, d.last_comment,
       d.last_tried_at, d.next_try_at, d.sent_at, d.commitment_asked_at, d.committed_at,
       CASE WHEN d.sent_at IS NOT NULL AND d.committed_at IS NULL THEN 1 ELSE 0 END AS unconfirmed,
       x.role, x.sop_class_uid, x.sop_instance_uid, r.cycle_id, r.id AS revision_id,
       r.number AS revision_number, c.patient_id
  FROM deliveries d
  JOIN results x ON x.id = d.result_id
  JOIN revisions r ON r.id = d.revision_id
  JOIN cycles c ON c.id = r.cycle_id;

-- 4 What it takes to make result R again: inputs, software, configuration, seed, who approved.
CREATE VIEW v_reproduction AS
SELECT x.sop_instance_uid, x.role, x.file_sha256, r.id AS revision_id, r.number AS revision_number,
       r.cycle_id, r.inputs_digest, k.id AS calculation_id, k.step, k.engine, k.version, k.config_digest,
       k.seed, k.parameters, k.inputs, k.data_digests, k.outputs, k.started_at, k.ended_at, k.outcome,
       c.released_by, c.released_because, r.released_at, c.patient_id
  FROM results x
  JOIN revisions r ON r.id = x.revision_id
  JOIN cycles c ON c.id = r.cycle_id
  JOIN calculations k ON k.revision_id = r.id AND k.replay_of IS NULL;

-- 5 How configuration and calibration changed, and which configuration each start had.
CREATE VIEW v_configuration_history AS
SELECT seq, at, kind, actor, role, config_digest, version, changes
  FROM (SELECT seq, at, kind, actor, DETAIL(body, role) AS role,
               DETAIL(body, config_digest) AS config_digest,
               DETAIL(body, version) AS version, NULL AS changes
          FROM events WHERE kind = 'application-started'
        UNION ALL
        SELECT seq, at, kind, actor, NULL, DETAIL(body, after), NULL, DETAIL(body, changes)
          FROM events WHERE kind = 'configuration-changed') history;

-- 6 The same SOP Instance UID again: duplicates (same bytes) and conflicts (other bytes).
CREATE VIEW v_duplicates_and_conflicts AS
SELECT seq, at, sop_instance_uid, peer, DETAIL(body, receipt) AS receipt, DETAIL(body, sha256) AS sha256,
       DETAIL(body, association) AS association
  FROM events
 WHERE kind = 'instance-received' AND action IN ('R', 'U');

-- 7 Refused associations by peer and reason.
CREATE VIEW v_refused_associations AS
SELECT peer, address, called_ae, reason, COUNT(*) AS refusals, MIN(at) AS first_at, MAX(at) AS last_at
  FROM (SELECT peer, at, DETAIL(body, address) AS address, DETAIL(body, called_ae) AS called_ae,
               DETAIL(body, reason) AS reason
          FROM events WHERE kind = 'association-refused') refused
 GROUP BY peer, address, called_ae, reason;

-- 8 How long from the last slice to the dose, for each revision.
CREATE VIEW v_latency AS
SELECT r.id AS revision_id, r.cycle_id, r.number AS revision_number, r.last_input_at,
       x.created_at AS dose_made_at, d.first_sent_at,
       SECONDS(x.created_at, r.last_input_at) AS seconds_to_dose,
       SECONDS(d.first_sent_at, r.last_input_at) AS seconds_to_delivery
  FROM revisions r
  JOIN (SELECT revision_id, MIN(created_at) AS created_at FROM results
         WHERE sop_class_uid = '1.2.840.10008.5.1.4.1.1.481.2' GROUP BY revision_id) x
    ON x.revision_id = r.id
  LEFT JOIN (SELECT revision_id, MIN(sent_at) AS first_sent_at FROM deliveries GROUP BY revision_id) d
    ON d.revision_id = r.id
 WHERE r.last_input_at IS NOT NULL;

-- 8 The same in two numbers: median and 95th percentile (nearest rank).
CREATE VIEW v_latency_summary AS
SELECT COUNT(*) AS revisions,
       MIN(CASE WHEN 2 * place >= total THEN seconds_to_dose END) AS median_seconds_to_dose,
       MIN(CASE WHEN 20 * place >= 19 * total THEN seconds_to_dose END) AS p95_seconds_to_dose
  FROM (SELECT seconds_to_dose, ROW_NUMBER() OVER (ORDER BY seconds_to_dose) AS place,
               COUNT(*) OVER () AS total
          FROM v_latency) ranked;

-- 9 Dose per region and cycle, from the newest revision that counts, summed over the patient's course.
CREATE VIEW v_organ_doses AS
SELECT c.patient_id, c.id AS cycle_id, a.administered_at, c.nuclide, r.id AS revision_id,
       r.number AS revision_number, r.state AS revision_state, o.region, o.mean_gy, o.sigma_gy, o.d2_gy,
       o.d50_gy, o.d98_gy, o.max_gy, o.volume_ml, o.mass_g, o.tia_mbq_s, o.sigma_tia_mbq_s, o.tia_method,
       o.bed_gy, o.eqd2_gy, o.alpha_gy, o.low_gy, o.high_gy, o.recovery, o.recovered_gy, o.recovered_sigma_gy,
       o.recovery_limit,
       SUM(o.mean_gy) OVER (PARTITION BY c.patient_id, o.region
                            ORDER BY COALESCE(a.administered_at, c.opened_at), c.id) AS course_mean_gy
  FROM cycles c
  JOIN revisions r ON r.cycle_id = c.id
   AND r.number = (SELECT MAX(n.number) FROM revisions n
                    WHERE n.cycle_id = c.id AND n.state IN ('RELEASED', 'DELIVERED'))
  JOIN organ_doses o ON o.revision_id = r.id
  LEFT JOIN administrations a ON a.id = c.administration_id;

-- 10 Who looked at, changed or moved a patient's data, and who searched the trail for the patient.
CREATE VIEW v_access AS
SELECT seq, at, patient_id, actor, peer, kind, action, outcome, series_instance_uid, sop_instance_uid,
       cycle_id
  FROM events
 WHERE patient_id <> '';

-- 11 Results by the version that made them (for a recall).
CREATE VIEW v_results_by_version AS
SELECT DISTINCT k.version, k.engine, k.config_digest, r.cycle_id, r.id AS revision_id,
       r.number AS revision_number, r.state AS revision_state, c.patient_id, x.role, x.sop_instance_uid,
       x.created_at
  FROM calculations k
  JOIN revisions r ON r.id = k.revision_id
  JOIN cycles c ON c.id = r.cycle_id
  LEFT JOIN results x ON x.revision_id = r.id
 WHERE k.replay_of IS NULL;

-- 12 Findings about clocks, time zones and dates.
CREATE VIEW v_clock_findings AS
SELECT found_at, rule, severity, sentence, measured, "limit" AS limit_value, unit, series_instance_uid,
       cycle_id, revision_id
  FROM findings
 WHERE rule LIKE '%clock%' OR rule LIKE '%zone%' OR rule LIKE '%time%' OR rule LIKE '%date%';

-- 13 Warnings (B0xx) with which a peer took an object: it may have changed what it stored.
CREATE VIEW v_peer_warnings AS
SELECT seq, at, peer, DETAIL(body, status) AS status, DETAIL(body, comment) AS comment, sop_instance_uid,
       cycle_id, patient_id
  FROM events
 WHERE kind = 'instance-sent' AND UPPER(DETAIL(body, status)) LIKE '%B0__%';

-- 14 Every time that the trail was verified, and the result.
CREATE VIEW v_trail_verifications AS
SELECT seq, at, actor, outcome, DETAIL(body, rows) AS verified_rows, DETAIL(body, broken_seq) AS broken_seq,
       DETAIL(body, why) AS why
  FROM events
 WHERE kind = 'audit-verified';
