//! How a file's layout came to be, one step a version. A new step is a line here; none is ever
//! changed. What a step leaves in tables of the layout before is moved by [upgrade](super::upgrade).

/// Statements that take a file from the version of their place to the next.
pub const STEPS: &[&str] = &[
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
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
     CREATE INDEX journal_subject ON journal (subject, position);",
    "DROP INDEX journal_subject;
     ALTER TABLE rows RENAME TO rows_1;
     ALTER TABLE journal RENAME TO journal_1;
     CREATE TABLE state (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
     CREATE TABLE tail (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
     CREATE TABLE blocks (
        cell   INTEGER NOT NULL,
        kind   INTEGER NOT NULL,
        number INTEGER NOT NULL,
        sum    BLOB NOT NULL,
        raw    INTEGER NOT NULL,
        body   BLOB NOT NULL,
        PRIMARY KEY (cell, kind, number)
     ) WITHOUT ROWID;
     CREATE TABLE cells (cell INTEGER PRIMARY KEY, tally BLOB NOT NULL);
     CREATE TABLE segments (
        first     INTEGER PRIMARY KEY,
        last      INTEGER NOT NULL,
        newest    INTEGER NOT NULL,
        before    BLOB NOT NULL,
        after     BLOB NOT NULL,
        sum       BLOB NOT NULL,
        directory BLOB NOT NULL
     );
     CREATE TABLE pieces (id INTEGER PRIMARY KEY, body BLOB NOT NULL);",
];
