//! The shapes of everything in the OpenAPI document, in a short hand: a field's type is a JSON type
//! or another shape's name; `[x]` is a list, a `?` behind it may be null or absent.

/// An object's shape.
pub(crate) struct Schema {
    /// Its name.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [(&'static str, &'static str)],
}

const fn schema(name: &'static str, fields: &'static [(&'static str, &'static str)]) -> Schema {
    Schema { name, fields }
}

/// Words that stand for an enumeration, with how they look.
pub(crate) const WORDS: &[(&str, &[&str])] = &[
    (
        "State",
        &[
            "installing",
            "available",
            "uncertain",
            "unavailable",
            "restart",
            "upgrading",
            "retiring",
            "retired",
            "archived",
            "terminated",
        ],
    ),
    (
        "Phase",
        &[
            "installing",
            "serving",
            "restarting",
            "upgrading",
            "retiring",
            "retired",
            "archived",
            "terminated",
        ],
    ),
    ("Health", &["uncertain", "healthy", "unavailable"]),
    (
        "MemberState",
        &[
            "absent",
            "initializing",
            "starting",
            "recovering",
            "following",
            "ready",
            "hung",
            "failed",
            "crash_looping",
            "stopping",
            "stopped",
            "sealed",
            "gone",
        ],
    ),
    ("HostState", &["joining", "up", "suspect", "uncertain", "down", "removed"]),
    ("Progress", &["done", "under_way", "ahead"]),
    ("Severity", &["note", "warning", "critical", "page"]),
    ("Family", &["backups", "replication", "security", "performance", "host"]),
    ("Topic", &["order", "transition", "verdict", "operation", "decision", "finding", "fleet"]),
];

/// Every object.
pub(crate) const SCHEMAS: &[Schema] = &[
    schema("ErrorBody", &[("error", "string"), ("message", "string")]),
    schema("Accepted", &[("service", "integer?"), ("operation", "integer?"), ("text", "string")]),
    schema("NewService", &[("name", "string"), ("kind", "string"), ("plan", "string?")]),
    schema("Termination", &[("confirm", "string")]),
    schema("FailoverOrder", &[("reason", "string")]),
    schema(
        "DrillResult",
        &[("drill", "string"), ("gap_ms", "integer"), ("lost", "integer"), ("acked", "integer")],
    ),
    schema("SwitchoverOrder", &[("to", "string?")]),
    schema(
        "UrlAnswer",
        &[
            ("url", "string"),
            ("host", "string"),
            ("port", "integer"),
            ("user", "string"),
            ("password", "string"),
            ("database", "string"),
        ],
    ),
    schema(
        "Service",
        &[
            ("id", "integer"),
            ("name", "string"),
            ("kind", "string"),
            ("plan", "string"),
            ("state", "State"),
            ("phase", "Phase"),
            ("health", "Health"),
            ("since_ms", "integer"),
            ("term", "integer"),
            ("url", "string?"),
            ("endpoint_port", "integer"),
            ("pooled_port", "integer?"),
            ("members", "[Member]"),
            ("operation", "Operation?"),
            ("failover", "Failover?"),
            ("findings", "[Finding]"),
        ],
    ),
    schema("Failover", &[("safe_now", "boolean"), ("because", "string"), ("cost", "string")]),
    schema(
        "Member",
        &[
            ("id", "integer"),
            ("host", "string"),
            ("role", "string"),
            ("state", "MemberState?"),
            ("pid", "integer?"),
            ("address", "string"),
            ("port", "integer"),
            ("data_dir", "string?"),
            ("image", "string"),
            ("incarnation", "integer"),
            ("goal", "[integer]"),
            ("applied", "[integer]?"),
            ("deaths", "integer"),
            ("trouble", "string?"),
            ("lag_bytes", "integer?"),
            ("sync", "boolean"),
        ],
    ),
    schema(
        "Operation",
        &[
            ("id", "integer"),
            ("name", "string"),
            ("cause", "string"),
            ("story", "string"),
            ("since_ms", "integer"),
            ("claimed", "boolean"),
            ("steps", "[Step]"),
        ],
    ),
    schema("Step", &[("name", "string"), ("progress", "Progress"), ("missing", "[string]")]),
    schema(
        "Finding",
        &[
            ("check", "string"),
            ("severity", "Severity"),
            ("subject", "string"),
            ("evidence", "string"),
            ("since_ms", "integer"),
        ],
    ),
    schema(
        "Host",
        &[
            ("id", "integer"),
            ("name", "string"),
            ("zone", "string"),
            ("address", "string"),
            ("state", "HostState"),
            ("pid", "integer?"),
            ("release", "string"),
            ("image", "string?"),
            ("members", "integer"),
            ("heard_ms", "integer?"),
            ("draining", "boolean"),
            ("operation", "Operation?"),
            ("findings", "[Finding]"),
        ],
    ),
    schema(
        "Gateway",
        &[
            ("name", "string"),
            ("address", "string"),
            ("pid", "integer"),
            ("current", "boolean"),
            ("open", "integer"),
            ("heard_ms", "integer"),
        ],
    ),
    schema(
        "Fleet",
        &[
            ("now", "integer"),
            ("posture", "string"),
            ("services", "[array]"),
            ("hosts", "[Host]"),
            ("gateways", "[Gateway]"),
        ],
    ),
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
