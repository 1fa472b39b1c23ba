//! What images are of: the programs needed, where systems put them, which packages bring them.

use std::fmt;
use std::path::{Path, PathBuf};

use super::MAJORS;

/// A piece of software that is run from an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// The database.
    Postgres,
    /// The pooler of its services' pooled endpoints.
    PgBouncer,
    /// The backup engine.
    PgBackRest,
}

impl Software {
    /// Programs an image of it must have; the first is the server.
    #[must_use]
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["postgres", "initdb"],
            Self::PgBouncer => &["pgbouncer"],
            Self::PgBackRest => &["pgbackrest"],
        }
    }

    /// The package that an administrator would install.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::PgBouncer => "pgbouncer",
            Self::PgBackRest => "pgbackrest",
        }
    }

    /// What its first program is asked its release with.
    pub(super) const fn asks_version(self) -> &'static str {
        match self {
            Self::Postgres | Self::PgBouncer => "--version",
            Self::PgBackRest => "version",
        }
    }

    /// Packages that bring it, the best first.
    pub(super) fn packages(self) -> Vec<String> {
        match self {
            Self::Postgres => MAJORS.rev().map(|major| format!("postgresql-{major}")).collect(),
            Self::PgBouncer | Self::PgBackRest => vec![self.package().to_owned()],
        }
    }

    /// Where its programs are in a tree of unpacked packages, the best first.
    pub(super) fn bins(self, root: &Path) -> Vec<PathBuf> {
        match self {
            Self::Postgres => MAJORS
                .rev()
                .map(|major| root.join(format!("usr/lib/postgresql/{major}/bin")))
                .collect(),
            Self::PgBouncer => vec![root.join("usr/sbin")],
            Self::PgBackRest => vec![root.join("usr/bin")],
        }
    }

    /// Where systems put it, the best first.
    pub(super) fn usual(self) -> Vec<PathBuf> {
        let more: &[&str] = match self {
            Self::Postgres => &["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"],
            Self::PgBouncer | Self::PgBackRest => &["/usr/local/bin", "/usr/bin"],
        };
        let others = MAJORS.rev().map(|major| PathBuf::from(format!("/usr/pgsql-{major}/bin")));
        let others = others.filter(|_| self == Self::Postgres);
        self.bins(Path::new("/"))
            .into_iter()
            .chain(others)
            .chain(more.iter().map(PathBuf::from))
            .collect()
    }

    /// Whether all its programs are in a directory.
    #[must_use]
    pub fn is_in(self, bin: &Path) -> bool {
        self.programs().iter().all(|program| bin.join(program).is_file())
    }
}

impl fmt::Display for Software {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => write!(f, "PostgreSQL {}-{}", MAJORS.start(), MAJORS.end()),
            Self::PgBouncer => f.write_str("PgBouncer"),
            Self::PgBackRest => f.write_str("pgBackRest"),
        }
    }
}
