//! What the control plane itself looks at about services and hosts, beside the checks that agents read: a
//! line for each, so that people find them where they find the others.

use crate::check::Family;

/// Something a cell looks at by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// Its name, as findings have it.
    pub name: &'static str,
    /// Its family.
    pub family: Family,
    /// What it is about.
    pub of: Of,
    /// What it looks at, and what to do. Ends with a full stop.
    pub doc: &'static str,
}

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// Any service.
    Service,
    /// A service with standbys.
    Copies,
    /// A service with an archive.
    Archive,
    /// A service with a pooled endpoint.
    Pooled,
    /// A member of a service.
    Member,
    /// A host.
    Host,
}

const fn own(name: &'static str, family: Family, of: Of, doc: &'static str) -> Lifecycle {
    Lifecycle { name, family, of, doc }
}

/// All of them. What a cell finds is named here.
pub const LIFECYCLE: &[Lifecycle] = &[
    own(
        "archive-current",
        Family::Backups,
        Of::Archive,
        "Whether the log gets to its archive in time. Look at the repository.",
    ),
    own(
        "archive-even",
        Family::Backups,
        Of::Archive,
        "Whether every repository has what the others have. It is evened out when the one that was away is back.",
    ),
    own(
        "archive-hole",
        Family::Backups,
        Of::Archive,
        "Whether the archive has a hole since the last backup. The next backup ends it.",
    ),
    own(
        "backup-proven",
        Family::Backups,
        Of::Archive,
        "Whether a restore was proven lately, and was as it should be. Order one with prove.",
    ),
    own(
        "backup-recent",
        Family::Backups,
        Of::Archive,
        "Whether backups succeed, and the last one is recent. Look at what the job said.",
    ),
    own(
        "disk-room",
        Family::Performance,
        Of::Member,
        "Whether the disk below the primary has room, and for how long. Free some, or drain the host.",
    ),
    own(
        "import",
        Family::Performance,
        Of::Service,
        "Whether the import of a foreign server failed. Terminate what is left and order it anew.",
    ),
    own(
        "failover-safe",
        Family::Replication,
        Of::Copies,
        "Whether every acknowledged write would outlive the primary. Bring its standbys back.",
    ),
    own(
        "commits-wait",
        Family::Replication,
        Of::Copies,
        "Whether commits wait for standbys that are not there. It ends by itself when they are given up.",
    ),
    own(
        "redundant",
        Family::Replication,
        Of::Copies,
        "Whether every member follows. Another is made in the place of one that stays away.",
    ),
    own(
        "state-lasts",
        Family::Performance,
        Of::Service,
        "Whether a state lasts longer than it may. A person must look.",
    ),
    own(
        "operation-late",
        Family::Performance,
        Of::Service,
        "Whether an operation is late at one of its steps. Look at what is missing.",
    ),
    own(
        "gateway-heard",
        Family::Performance,
        Of::Service,
        "Whether any gateway is heard, and with it endpoints are open. Start one.",
    ),
    own(
        "endpoint-listens",
        Family::Performance,
        Of::Service,
        "Whether every gateway listens on the endpoint's port. Free the port.",
    ),
    own(
        "pooled-endpoint",
        Family::Performance,
        Of::Pooled,
        "Whether the poolers of the pooled endpoint run. Look at what the pooler said.",
    ),
    own(
        "agent-heard",
        Family::Host,
        Of::Member,
        "Whether the agent of a member's host is heard. Look at the host.",
    ),
    own(
        "goal-accepted",
        Family::Host,
        Of::Member,
        "Whether a member's agent takes its goals. Look at the reason.",
    ),
    own(
        "host-heard",
        Family::Host,
        Of::Host,
        "Whether a host is heard again in time. Look at the machine.",
    ),
    own(
        "stray-members",
        Family::Host,
        Of::Host,
        "Whether a host has members that belong to no service. They are left alone; remove them by hand.",
    ),
];

/// One by name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Lifecycle> {
    LIFECYCLE.iter().find(|own| own.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_is_sound() {
        let names: std::collections::BTreeSet<_> = LIFECYCLE.iter().map(|own| own.name).collect();
        assert_eq!(names.len(), LIFECYCLE.len(), "two have one name");
        assert!(LIFECYCLE.iter().all(|own| own.doc.ends_with('.')));
    }
}
