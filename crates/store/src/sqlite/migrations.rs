//! How a file's layout came to be, one step a version. A new step is a line here; none is ever
//! changed.

/// Statements that take a file from the version of their place to the next.
pub const STEPS: &[&str] =
    &["CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE rows (
        cell INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        id   INTEGER NOT NULL,
        body BLOB NOT NULL,
        sum  BLOB NOT NULL,
        PRIMARY KEY (cell, kind, id)
     ) WITHOUT ROWID;
     CREATE TABLE journal (
        position INTEGER PRIMARY KEY,
        cell     INTEGER NOT NULL,
        subject  TEXT NOT NULL,
        entry    BLOB NOT NULL,
        link     BLOB NOT NULL
     );
     CREATE INDEX journal_subject ON journal (subject, position);"];
