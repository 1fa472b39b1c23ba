//! The list of endpoints: what the router serves and the OpenAPI document describes.

/// An HTTP method of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Looks, changes nothing.
    Get,
    /// Orders.
    Post,
    /// Orders something to be forgotten.
    Delete,
}

impl Method {
    /// Its name in requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// A parameter of a query; all are optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its JSON type.
    pub of: &'static str,
    /// What it does.
    pub summary: &'static str,
}

/// One endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its method.
    pub method: Method,
    /// Its path; `{name}` stands for a name.
    pub path: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Parameters of its query.
    pub query: &'static [Parameter],
    /// Schema of the request's body, if it has one.
    pub request: Option<&'static str>,
    /// Schema of the answer: `Name`, `[Name]` for a list, `text/...` for what is no JSON.
    pub answer: &'static str,
    /// Whether it may answer that the store cannot record.
    pub records: bool,
}

const fn get(path: &'static str, answer: &'static str, summary: &'static str) -> Endpoint {
    Endpoint {
        method: Method::Get,
        path,
        summary,
        query: &[],
        request: None,
        answer,
        records: false,
    }
}

const fn order(path: &'static str, summary: &'static str) -> Endpoint {
    Endpoint { method: Method::Post, answer: "Accepted", records: true, ..get(path, "", summary) }
}

const AFTER: Parameter = Parameter {
    name: "after",
    of: "integer",
    summary: "Only entries after this position, oldest first.",
};

/// Every endpoint but the two streams, which are no HTTP once they are open.
pub const ENDPOINTS: &[Endpoint] = &[
    get("/healthz", "text/plain", "Whether the controller answers; needs no token."),
    get("/metrics", "text/plain", "Aggregates in the text format of Prometheus."),
    get("/v1/openapi.json", "object", "This document."),
    get("/v1/fleet", "Fleet", "The fleet at a glance."),
    get("/v1/services", "[Service]", "Every service."),
    Endpoint {
        request: Some("NewService"),
        ..order("/v1/services", "Makes a service. The answer comes once it is recorded.")
    },
    get("/v1/services/{name}", "Service", "One service."),
    get("/v1/services/{name}/explain", "Explain", "Why a service is as it is."),
    Endpoint {
        query: &[
            Parameter {
                name: "direct",
                of: "boolean",
                summary: "The members instead of the stable endpoint.",
            },
            Parameter {
                name: "pooled",
                of: "boolean",
                summary: "The pooled endpoint instead of the stable one.",
            },
        ],
        ..get(
            "/v1/services/{name}/url",
            "UrlAnswer",
            "How to connect; the only answer that shows a password.",
        )
    },
    order("/v1/services/{name}/restart", "Restarts a service's members in an orderly way."),
    Endpoint {
        request: Some("FailoverOrder"),
        ..order(
            "/v1/services/{name}/failover",
            "Has another member take the primary's place, as if it were lost.",
        )
    },
    Endpoint {
        request: Some("SwitchoverOrder"),
        ..order(
            "/v1/services/{name}/switchover",
            "Has another member take the primary's place, in order.",
        )
    },
    Endpoint {
        request: Some("DrillResult"),
        ..order("/v1/services/{name}/drills", "Keeps what a drill came to.")
    },
    get("/v1/services/{name}/backups", "[BackupRow]", "A service's backups, newest first."),
    order("/v1/services/{name}/backups", "Takes a backup; `job` in the answer is its number."),
    order("/v1/services/{name}/proofs", "Proves that the newest backup can be restored."),
    Endpoint {
        request: Some("GiveUpOrder"),
        ..order(
            "/v1/services/{name}/give-up-log",
            "Gives up the log that no repository took yet, and takes a new backup.",
        )
    },
    Endpoint {
        request: Some("ForkOrder"),
        ..order("/v1/services/{name}/fork", "Makes a service from this one's backup and log.")
    },
    Endpoint {
        request: Some("RollbackOrder"),
        ..order(
            "/v1/services/{name}/rollback",
            "Puts a service back to how it was, in new members; the old ones are retired.",
        )
    },
    Endpoint {
        request: Some("ImportOrder"),
        ..order("/v1/imports", "Makes a service from a foreign server.")
    },
    get("/v1/backups/{id}", "BackupRow", "One backup."),
    get("/v1/repositories", "[RepositoryPage]", "Where archives go."),
    Endpoint {
        request: Some("NewRepository"),
        ..order("/v1/repositories", "Has every archive go to one repository more.")
    },
    Endpoint {
        request: Some("Termination"),
        ..order(
            "/v1/repositories/{name}/remove",
            "Has no archive go to a repository any more, nor come from there; what is in it stays.",
        )
    },
    order("/v1/services/{name}/retire", "Stops a service and keeps its disks."),
    order("/v1/services/{name}/revive", "Makes a retired service serve again."),
    order("/v1/services/{name}/archive", "Keeps a retired service's archive only."),
    Endpoint {
        request: Some("Termination"),
        ..order("/v1/services/{name}/terminate", "Ends a service and removes its data for ever.")
    },
    get("/v1/remedies", "[Remedy]", "Every remedy, with its level and budget."),
    Endpoint {
        request: Some("LevelOrder"),
        ..order("/v1/remedies/{name}/level", "Says who lets a remedy run.")
    },
    get("/v1/approvals", "[Approval]", "Remedies that wait for a person's yes."),
    order("/v1/approvals/{id}/approve", "Lets a remedy run that waits for a person's yes."),
    Endpoint {
        request: Some("PinOrder"),
        ..order("/v1/services/{name}/pin", "Has automation leave a service alone for a while.")
    },
    Endpoint {
        request: Some("BrakeOrder"),
        ..order("/v1/brake", "Puts the fleet brake on or off.")
    },
    get("/v1/procedures", "[ProcedurePage]", "Every procedure."),
    get("/v1/procedures/{name}", "ProcedurePage", "One procedure, with its scripts."),
    Endpoint {
        request: Some("ProcedureOrder"),
        ..order(
            "/v1/services/{name}/procedures",
            "Runs a procedure on a service, as planned; `job` in the answer is the act's number.",
        )
    },
    get("/v1/breakglass", "[Act]", "Runs of procedures and what people did by hand, newest first."),
    Endpoint {
        request: Some("GlassOrder"),
        ..order(
            "/v1/breakglass",
            "Breaks the glass for a procedure or a shell; `job` in the answer is the act's number.",
        )
    },
    get("/v1/breakglass/{id}", "Act", "What was ordered by one act, and what came of it."),
    Endpoint {
        request: Some("PersonOrder"),
        ..order("/v1/breakglass/{id}/approve", "Agrees, as a second person.")
    },
    Endpoint {
        request: Some("PersonOrder"),
        ..order("/v1/breakglass/{id}/end", "Ends an act before its time.")
    },
    Endpoint {
        request: Some("RecordingOrder"),
        ..order(
            "/v1/breakglass/{id}/recording",
            "Keeps what was typed and shown in a shell since the last time.",
        )
    },
    get("/v1/hosts", "[Host]", "Every host."),
    get("/v1/hosts/{name}", "Host", "One host."),
    Endpoint {
        method: Method::Delete,
        ..order("/v1/hosts/{name}", "Forgets a host that holds no member.")
    },
    order("/v1/hosts/{name}/drain", "Places nothing on a host any more and empties it."),
    order("/v1/hosts/{name}/return", "Takes a drained host back."),
    get("/v1/kinds", "[KindSummary]", "Every kind of service."),
    get("/v1/kinds/{name}", "KindPage", "One kind, with its machines as tables and diagrams."),
    get("/v1/checks", "[CheckLine]", "Everything that is looked at."),
    get("/v1/checks/{name}", "CheckPage", "One check, with what it goes by now."),
    Endpoint {
        query: &[
            Parameter { name: "service", of: "string", summary: "Only those of this service." },
            Parameter { name: "family", of: "string", summary: "Only those of this family." },
            Parameter { name: "severity", of: "string", summary: "Only those so bad, or worse." },
        ],
        ..get("/v1/findings", "[Finding]", "What is not as it should be in the fleet, worst first.")
    },
    get("/v1/services/{name}/diagnosis", "Diagnosis", "Every check of a service."),
    Endpoint {
        query: &[
            Parameter {
                name: "subject",
                of: "string",
                summary: "Only entries about this service or host.",
            },
            AFTER,
            Parameter { name: "limit", of: "integer", summary: "How many at most." },
        ],
        ..get("/v1/journal", "[JournalEntry]", "Entries of the journal, the newest by default.")
    },
    Endpoint {
        query: &[AFTER],
        ..get(
            "/v1/events",
            "text/event-stream",
            "Entries of the journal as they are recorded, one JournalEntry for each event. \
             Resumes by `after` or the header `Last-Event-ID`.",
        )
    },
    Endpoint {
        request: Some("RecoveryEnd"),
        ..order("/v1/recovery", "Goes on with the hosts that have shown what they keep.")
    },
    Endpoint {
        query: &[Parameter {
            name: "deep",
            of: "boolean",
            summary: "The whole store again, also what was found sound before.",
        }],
        ..get("/v1/doctor", "[DoctorItem]", "Whether the control plane is well, and what to do.")
    },
    get("/v1/maintenance", "[MaintenanceItem]", "Everything that is planned."),
    order("/v1/maintenance/{id}/run-now", "Has planned work wait for its window no longer."),
    order("/v1/maintenance/{id}/cancel", "Has planned work not be done."),
    get("/v1/services/{name}/maintenance", "Maintenance", "A service's windows and planned work."),
    Endpoint {
        request: Some("PlanOrder"),
        ..order("/v1/services/{name}/maintenance", "Plans work for a service's next window.")
    },
    Endpoint {
        request: Some("WindowOrder"),
        ..order("/v1/services/{name}/maintenance/window", "Sets when planned work may be done.")
    },
    get("/v1/drills", "[Drills]", "The drills of every service that has or had any."),
    get("/v1/services/{name}/drills", "Drills", "A service's drills: schedule, results, trend."),
    Endpoint {
        request: Some("DrillSchedule"),
        ..order("/v1/services/{name}/drills/schedule", "Has a service be drilled by itself.")
    },
    Endpoint {
        request: Some("DrillBegin"),
        ..order("/v1/services/{name}/drills/begin", "Begins a drill that its giver does.")
    },
    order(
        "/v1/services/{name}/drills/lose",
        "Loses this controller while its loss is exercised; answers only if it could not.",
    ),
    order("/v1/services/{name}/drills/abort", "Has the drill that runs end as soon as it can."),
    get("/v1/toil", "Toil", "What the fleet did by itself, and what people still do by hand."),
    Endpoint {
        query: &[Parameter { name: "all", of: "boolean", summary: "Those that are over too." }],
        ..get("/v1/incidents", "[Incident]", "Incidents, newest first.")
    },
    get("/v1/incidents/{id}", "Incident", "One incident, by its number."),
    Endpoint {
        request: Some("AckOrder"),
        ..order("/v1/incidents/{id}/ack", "Says that a person knows: nobody else is told.")
    },
    get("/v1/alerts", "Alerts", "The chain of alert channels, and what they did last."),
    order("/v1/alerts/test", "Exercises every alert channel now."),
];
