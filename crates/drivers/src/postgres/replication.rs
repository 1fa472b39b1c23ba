//! What a server says of its replication, and what is proven of it: that a standby is deaf, that it
//! was promoted, that a set is in force in every process, that clients may come in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use evenkeel_core::driver::{Error, Receiver, Replication, Sender};
use evenkeel_core::goal::{Goal, Role};
use evenkeel_core::id::Term;
use evenkeel_core::promise::{Position, Set};
use evenkeel_kinds::postgres::replication::{copy, role, standby_names};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::layout::Layout;
use super::session::config;
use super::{conf, image, make, server};
use crate::Setup;
use crate::files::{fault, sync_parent, write_synced};
use crate::sql::{connect, in_words, runtime};

/// Questions are answered within this, or the server is busy with something else.
const PATIENCE: Duration = Duration::from_secs(2);
/// A promotion takes as long as the log that is left to replay.
const PROMOTE_MAX: Duration = Duration::from_secs(60);
/// A checkpoint before a planned stop takes no longer than this.
const CHECKPOINT_MAX: Duration = Duration::from_secs(10);
/// Between looks at a condition the server sends no news of.
const STEP: Duration = Duration::from_millis(1);
/// A walsender that neither moves nor ends in this time is ended; it is never a client's.
const SENDER_MAX: Duration = Duration::from_secs(5);
/// First line of a history file that only keeps a timeline's number from being used again.
const PLANTED: &str = "# Evenkeel: no timeline, only its number is taken.\n";

/// Asked in a session of its own each time: the postmaster that began it has read its settings, and
/// told its startup process, before it did.
const ASK: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
    (SELECT term FROM evenkeel.term WHERE id = 1), \
    (SELECT status::text FROM pg_catalog.pg_stat_wal_receiver), \
    (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walreceiver'), \
    (SELECT wait_event::text FROM pg_catalog.pg_stat_activity WHERE backend_type = 'startup'), \
    pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() \
        THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) \
        ELSE pg_catalog.pg_current_wal_flush_lsn() END, '0/0')::bigint";

const SENDERS: &str = "SELECT application_name, state = 'streaming', \
    coalesce(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), flush_lsn), \
        4611686018427387904)::bigint, pid, \
    coalesce(pg_catalog.pg_wal_lsn_diff(flush_lsn, '0/0'), 0)::bigint, \
    coalesce(extract(epoch FROM reply_time) * 1000000, 0)::bigint \
    FROM pg_catalog.pg_stat_replication";

/// The startup process has nothing left to replay and looks for more now and then.
const NOTHING_LEFT: &str = "RecoveryRetrieveRetryInterval";

/// A walsender as the server shows it.
struct Walsender {
    name: String,
    streaming: bool,
    lag: u64,
    pid: i32,
    flushed: u64,
    replied: u64,
}

fn words(error: &tokio_postgres::Error) -> Error {
    Error::Failed(in_words(error))
}

fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Runs a question to its end, or not for long.
pub fn within<T>(
    what: &str,
    limit: Duration,
    question: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    let limited = runtime().block_on(async { tokio::time::timeout(limit, question).await });
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    limited
        .map_err(|_| Error::Deadline { what: what.to_owned(), limit_ms })?
        .map_err(|error| words(&error))
}

/// What the server says.
pub fn ask(setup: &Setup, goal: &Goal) -> Result<Replication, Error> {
    let config = config(setup, goal, "evenkeel_probe", "evenkeel");
    within("asking about replication", PATIENCE, async {
        let client = connect(config).await?;
        let row = client.query_one(ASK, &[]).await?;
        let recovering: bool = row.get(0);
        let senders = if recovering { Vec::new() } else { walsenders(&client).await? };
        let status: Option<String> = row.get(2);
        let receivers: i64 = row.get(3);
        let startup: Option<String> = row.get(4);
        let flushed: Option<i64> = row.get(5);
        let term: i64 = row.get(1);
        Ok(Replication {
            recovering,
            history: Term(u32::try_from(term).unwrap_or(0)),
            receiver: match status.as_deref() {
                Some("streaming") => Receiver::Streaming,
                None if receivers == 0 => Receiver::None,
                _ => Receiver::Connecting,
            },
            replayed: startup.as_deref() == Some(NOTHING_LEFT),
            flushed: Position(number(flushed.unwrap_or(0))),
            senders: senders.iter().filter_map(sender).collect(),
        })
    })
}

fn sender(walsender: &Walsender) -> Option<Sender> {
    let copy = copy(&walsender.name)?;
    let Walsender { streaming, lag: lag_bytes, replied, .. } = *walsender;
    Some(Sender { copy, streaming, lag_bytes, replied })
}

async fn walsenders(client: &Client) -> Result<Vec<Walsender>, tokio_postgres::Error> {
    let rows = client.query(SENDERS, &[]).await?;
    let of = |row: &tokio_postgres::Row| Walsender {
        name: row.get(0),
        streaming: row.get(1),
        lag: number(row.get(2)),
        pid: row.get(3),
        flushed: number(row.get(4)),
        replied: number(row.get(5)),
    };
    Ok(rows.iter().map(of).collect())
}

/// Writes a checkpoint, if that takes no longer than it may.
pub fn checkpoint(setup: &Setup, goal: &Goal) -> Result<(), Error> {
    let config = config(setup, goal, "evenkeel", "evenkeel");
    within("a checkpoint", CHECKPOINT_MAX, async {
        connect(config).await?.batch_execute("CHECKPOINT").await
    })
}

/// Has the server begin a new segment of its log; the name of the last one that has anything in it.
pub fn end_segment(setup: &Setup, goal: &Goal) -> Result<String, Error> {
    let config = config(setup, goal, "evenkeel", "evenkeel");
    within("ending a segment", PATIENCE, async {
        let client = connect(config).await?;
        // Without anything written since, there is none to end.
        let text = "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), \
                    pg_catalog.pg_switch_wal()::text";
        Ok(client.query_one(text, &[]).await?.get(0))
    })
}

/// Whether all segments up to one are archived.
pub fn is_archived(layout: &Layout, upto: &str) -> Result<bool, Error> {
    let place = layout.data.join("pg_wal/archive_status");
    let waits = |name: &str| name.strip_suffix(".ready").is_some_and(|name| name <= upto);
    let names = fs::read_dir(&place).map_err(fault("cannot list", &place))?;
    let mut names = names.filter_map(|entry| Some(entry.ok()?.file_name()));
    Ok(!names.any(|name| name.to_str().is_some_and(waits)))
}

/// Where a cleanly stopped server's log ends: at its shutdown's checkpoint. A standby that has flushed
/// past the beginning of that record has every commit.
pub fn end_of_log(setup: &Setup, layout: &Layout) -> Result<Option<Position>, Error> {
    let image = image(setup)?;
    let mut command = Command::new(image.program("pg_controldata")?);
    command.arg(&layout.data).env_clear().envs(make::environment(image));
    let said = make::said(command, None)?;
    let value = |name: &str| {
        said.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start_matches(':').trim()))
    };
    if value("Database cluster state") != Some("shut down") {
        return Ok(None);
    }
    let end = value("Latest checkpoint location").and_then(|text| text.parse().ok());
    Ok(end.map(|Position(at)| Position(at + 1)))
}

/// The set that a goal's primary should wait for.
fn set(goal: &Goal) -> Set {
    match &goal.role {
        Role::Primary { set, .. } => set.clone(),
        Role::Standby { .. } | Role::Recruit => Set::nobody(),
    }
}

/// Has a standby take writes. Its set is in force before the first commit, and its timeline has the
/// number of the goal's term, which no other promotion ever has.
pub fn promote(setup: &Setup, layout: &Layout, goal: &Goal) -> Result<(), Error> {
    let names = standby_names(&set(goal));
    let config = config(setup, goal, "evenkeel", "evenkeel");
    let fresh = || connect(config.clone());
    let (client, recovering) = within("asking about recovery", PATIENCE, async {
        let client = fresh().await?;
        let row = client
            .query_one(
                "SELECT pg_catalog.pg_is_in_recovery(), \
                 pg_catalog.current_setting('synchronous_standby_names')",
                &[],
            )
            .await?;
        let said = (row.get::<_, bool>(0), row.get::<_, String>(1));
        Ok((client, said))
    })?;
    if recovering.0 {
        if recovering.1 != names {
            return Err(Error::Failed("its set is not in force yet".to_owned()));
        }
        if conf::Gate::at_start(goal) == conf::Gate::Shut && set(goal).acks() > 0 {
            conf::write(setup, layout, goal, conf::Gate::Shut)?;
            if let evenkeel_core::driver::Process::Running { pid } = server::find(&layout.data) {
                server::reload(pid)?;
            }
        }
        plant(&layout.data, goal.term)?;
    }
    within("a promotion", PROMOTE_MAX, async {
        client.batch_execute("SET synchronous_commit = local").await?;
        if recovering.0 {
            client.query("SELECT pg_catalog.pg_promote(false)", &[]).await?;
            let still = "SELECT pg_catalog.pg_is_in_recovery()";
            while client.query_one(still, &[]).await?.get::<_, bool>(0) {
                tokio::time::sleep(STEP).await;
            }
        }
        let term = i64::from(goal.term.0);
        let mark = "UPDATE evenkeel.term SET term = $1 WHERE id = 1 AND term < $1";
        client.execute(mark, &[&term]).await?;
        // Those who are rewound read from its control file which timeline this is.
        tokio::spawn(async move { client.batch_execute("CHECKPOINT").await });
        Ok(())
    })
}

fn histories(data: &Path) -> Result<Vec<(u32, PathBuf)>, Error> {
    let wal = data.join("pg_wal");
    let entries = fs::read_dir(&wal).map_err(fault("cannot list", &wal))?;
    let timeline = |path: &Path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".history")?;
        u32::from_str_radix(name, 16).ok()
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter_map(|path| Some((timeline(&path)?, path))).collect())
}

/// Takes the numbers of timelines between a server's own and a term's, so that its next one is the
/// term. A server chooses the first number after its own that it knows no history of, and that may be
/// another's of which it never heard.
pub fn plant(data: &Path, term: Term) -> Result<(), Error> {
    let known = histories(data)?;
    let own = known.iter().filter(|(_, path)| !is_planted(path)).map(|(number, _)| *number).max();
    for timeline in own.unwrap_or(1) + 1..term.0 {
        if known.iter().any(|(number, _)| *number == timeline) {
            continue;
        }
        let path = data.join("pg_wal").join(format!("{timeline:08X}.history"));
        write_synced(&path, PLANTED.as_bytes()).map_err(fault("cannot write", &path))?;
    }
    Ok(())
}

fn is_planted(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text == PLANTED)
}

/// Takes away what was planted above the newest true history: a promotion that did not come to be
/// must not make a server look for timelines that are none.
pub fn clear_planted(data: &Path) -> Result<(), Error> {
    let mut known = histories(data)?;
    known.sort_unstable();
    for (_, path) in known.iter().rev() {
        if !is_planted(path) {
            break;
        }
        fs::remove_file(path).map_err(fault("cannot remove", path))?;
        sync_parent(path).map_err(fault("cannot sync", path))?;
    }
    Ok(())
}

/// Proofs under way.
#[derive(Default)]
pub struct Proofs {
    /// Where the log was when clients were first to be let in.
    began: Option<u64>,
    force: Option<Force>,
}

/// A proof that a set is in force.
struct Force {
    of: (Term, u32),
    /// Two checkpoints that were asked for after the new value was seen: the checkpointer has read it.
    checkpoints: Option<JoinHandle<Result<(), tokio_postgres::Error>>>,
    /// Walsenders there were then, and the position each must have sent: it has read the value to do so.
    sampled: Option<Sample>,
}

struct Sample {
    senders: Vec<i32>,
    position: u64,
    since: Instant,
}

impl Proofs {
    /// Whether as many of the set as acknowledge stream, and have what this server began with.
    pub fn may_open(&mut self, setup: &Setup, goal: &Goal) -> Result<bool, Error> {
        let set = set(goal);
        if set.acks() == 0 {
            return Ok(true);
        }
        let config = config(setup, goal, "evenkeel_probe", "evenkeel");
        let (now, senders) = within("asking who follows", PATIENCE, async {
            let client = connect(config).await?;
            let row = client
                .query_one(
                    "SELECT pg_catalog.pg_wal_lsn_diff(\
                     pg_catalog.pg_current_wal_flush_lsn(), '0/0')::bigint",
                    &[],
                )
                .await?;
            Ok((number(row.get(0)), walsenders(&client).await?))
        })?;
        let began = *self.began.get_or_insert(now);
        let have = senders.iter().filter(|s| s.streaming && s.flushed >= began);
        Ok(have.filter(|s| named(&set, &s.name)).count() >= usize::from(set.acks()))
    }

    /// Whether the goal's set is in force everywhere, and flushed past what was written before.
    pub fn in_force(&mut self, setup: &Setup, goal: &Goal) -> Result<bool, Error> {
        let Role::Primary { set, change, .. } = &goal.role else { return Ok(false) };
        let config = config(setup, goal, "evenkeel", "evenkeel");
        let fresh = || connect(config.clone());
        let shown = within("asking for the set", PATIENCE, async {
            let client = fresh().await?;
            let shown = "SELECT pg_catalog.current_setting('synchronous_standby_names')";
            Ok(client.query_one(shown, &[]).await?.get::<_, String>(0))
        })?;
        if shown != standby_names(set) {
            self.force = None;
            return Ok(false);
        }
        let of = (goal.term, *change);
        if self.force.as_ref().is_none_or(|force| force.of != of) {
            let own = config.clone();
            let twice = async move {
                let client = connect(own).await?;
                client.batch_execute("CHECKPOINT").await?;
                client.batch_execute("CHECKPOINT").await
            };
            let checkpoints = (set.acks() > 0).then(|| runtime().spawn(twice));
            self.force = Some(Force { of, checkpoints, sampled: None });
        }
        let Some(force) = self.force.as_mut() else { return Ok(false) };
        if let Some(checkpoints) = force.checkpoints.take_if(|c| c.is_finished()) {
            let ended = runtime().block_on(checkpoints);
            if let Some(error) = ended.map_err(|e| Error::Failed(e.to_string()))?.err() {
                self.force = None;
                return Err(words(&error));
            }
        }
        if force.checkpoints.is_some() {
            return Ok(false);
        }
        if force.sampled.is_none() {
            force.sampled = Some(within("sampling the log", PATIENCE, sample(fresh()))?);
        }
        let Some(Sample { senders, position, since }) = &force.sampled else { return Ok(false) };
        let now =
            within("asking who follows", PATIENCE, async { walsenders(&fresh().await?).await })?;
        let behind: Vec<i32> = now
            .iter()
            .filter(|s| senders.contains(&s.pid) && s.flushed < *position)
            .map(|s| s.pid)
            .collect();
        if !behind.is_empty() && since.elapsed() > SENDER_MAX {
            within("ending walsenders that do not move", PATIENCE, async {
                let end = "SELECT pg_catalog.pg_terminate_backend(pid) \
                           FROM pg_catalog.pg_stat_replication WHERE pid = ANY($1)";
                fresh().await?.query(end, &[&behind]).await
            })?;
        }
        let flushed = now.iter().filter(|s| s.flushed >= *position && named(set, &s.name)).count();
        Ok(behind.is_empty() && flushed >= usize::from(set.acks()))
    }
}

/// A position that is flushed here, and who is sent the log then.
async fn sample(
    client: impl Future<Output = Result<Client, tokio_postgres::Error>>,
) -> Result<Sample, tokio_postgres::Error> {
    let client = client.await?;
    client
        .batch_execute(
            "SET synchronous_commit = local; \
             UPDATE evenkeel.heartbeat SET at = pg_catalog.now() WHERE id = 1",
        )
        .await?;
    let at =
        "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')::bigint";
    let position = number(client.query_one(at, &[]).await?.get(0));
    let senders = walsenders(&client).await?.iter().map(|s| s.pid).collect();
    Ok(Sample { senders, position, since: Instant::now() })
}

fn named(set: &Set, name: &str) -> bool {
    set.standbys().iter().any(|copy| role(*copy) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        for (text, value) in [("0/0", 0), ("0/1A2B", 0x1a2b), ("1/0", 1 << 32)] {
            assert_eq!(text.parse(), Ok(Position(value)), "{text}");
            assert_eq!(Position(value).to_string(), text);
        }
        for wrong in ["nonsense", "", "0", "0/", "/0", "0/+1", "0/123456789", "0/0/0"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
