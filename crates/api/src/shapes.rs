//! The other half of the objects in the OpenAPI document.

use crate::schema::{Schema, schema};

/// They are written as those of [`crate::schema`].
pub(crate) const OBJECTS: &[Schema] = &[
    schema(
        "Explain",
        &[
            ("service", "Service"),
            ("observations", "[Observation]"),
            ("posture", "string"),
            ("decision", "object"),
            ("decision_text", "string"),
        ],
    ),
    schema(
        "Observation",
        &[("by", "string"), ("subject", "string"), ("text", "string"), ("ago_ms", "integer")],
    ),
    schema(
        "PlanSummary",
        &[
            ("name", "string"),
            ("summary", "string"),
            ("members", "integer"),
            ("memory_mib", "integer"),
            ("connections_max", "integer"),
            ("archives", "boolean"),
            ("backups_kept", "integer"),
            ("restorable_seconds", "integer"),
        ],
    ),
    schema("CheckSummary", &[("name", "string"), ("family", "Family"), ("doc", "string")]),
    schema(
        "KindSummary",
        &[
            ("name", "string"),
            ("summary", "string"),
            ("plans", "[PlanSummary]"),
            ("checks", "[CheckSummary]"),
        ],
    ),
    schema(
        "KindPage",
        &[
            ("name", "string"),
            ("summary", "string"),
            ("plans", "[PlanSummary]"),
            ("checks", "[CheckSummary]"),
            ("phase_table", "string"),
            ("phase_diagram", "string"),
            ("health_table", "string"),
            ("health_diagram", "string"),
            ("member_table", "string"),
            ("member_diagram", "string"),
        ],
    ),
    schema(
        "ProcedurePage",
        &[
            ("manifest", "object"),
            ("digest", "string"),
            ("bundled", "boolean"),
            ("scripts", "object"),
        ],
    ),
    schema(
        "ProcedureOrder",
        &[
            ("procedure", "string"),
            ("member", "string?"),
            ("parameters", "object"),
            ("dry_run", "boolean"),
        ],
    ),
    schema(
        "GlassOrder",
        &[
            ("service", "string"),
            ("person", "string?"),
            ("reason", "string"),
            ("lasts_seconds", "integer"),
            ("shell", "boolean"),
            ("procedure", "string"),
            ("member", "string?"),
            ("parameters", "object"),
            ("dry_run", "boolean"),
            ("second", "string?"),
        ],
    ),
    schema("PersonOrder", &[("person", "string")]),
    schema("RecordingOrder", &[("typed", "string"), ("shown", "string")]),
    schema(
        "Act",
        &[
            ("id", "integer"),
            ("sort", "string"),
            ("state", "string"),
            ("by", "string"),
            ("reason", "string"),
            ("procedure", "string"),
            ("digest", "string?"),
            ("service", "string"),
            ("service_id", "integer"),
            ("member", "integer?"),
            ("parameters", "object"),
            ("dry_run", "boolean"),
            ("begun", "integer"),
            ("until", "integer"),
            ("ended", "integer?"),
            ("how", "string"),
            ("second", "string?"),
            ("approved", "object?"),
            ("cause", "object"),
            ("steps", "[object]"),
            ("operation", "integer?"),
            ("entries", "[object]"),
            ("recording", "object?"),
        ],
    ),
    schema(
        "JournalEntry",
        &[
            ("position", "integer"),
            ("at", "integer"),
            ("topic", "Topic"),
            ("subject", "string"),
            ("text", "string"),
            ("evidence", "[string]"),
            ("link", "string"),
        ],
    ),
    schema(
        "DoctorItem",
        &[("name", "string"), ("ok", "boolean"), ("detail", "string"), ("fix", "string")],
    ),
];
