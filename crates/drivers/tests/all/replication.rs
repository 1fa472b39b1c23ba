//! What befalls a primary and its standby, and the parts of them.

use std::fs;
use std::future::Future;

use evenkeel_core::contract::Who;
use evenkeel_core::driver::Answer;
use evenkeel_core::goal::{Goal, StopMode};
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::contract::with_a_pair;
use crate::{Place, process, send, until};

/// The process of a server that goes by a name.
fn part_of(place: &Place, goal: &Goal, name: &str) -> u32 {
    let data = place.data(goal.member.0).canonicalize().expect("it is there");
    let named = |pid: &u32| {
        let said = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&said).contains(name)
    };
    process::all_in(&data).into_iter().find(named).expect("it has one")
}

/// A part of the primary that has not read its settings may go by the old ones: nobody believes that
/// the new ones are in force.
pub fn a_stopped_part_keeps_a_set_unproven(place: &mut Place) {
    with_a_pair(place, |play| {
        for name in ["walsender", "checkpointer"] {
            for waits in [false, true] {
                let part = part_of(place, &play.goal(Who::First), name);
                send(part, Signal::STOP);
                play.leads(Who::First, waits, 1);
                // Commits that wait for nobody need nobody's checkpoint to prove it.
                if waits || name == "walsender" {
                    play.never(name, |play| play.in_force(Who::First));
                }
                send(part, Signal::CONT);
                play.until_in_force(Who::First);
                play.row(Who::First);
            }
        }
    });
}

/// Half of a settings' file, as a disk leaves it, is made whole before anything is started by it.
pub fn torn_settings_are_made_whole(place: &mut Place) {
    with_a_pair(place, |play| {
        let goal = play.goal(Who::First);
        play.call(Who::First, |driver, goal| driver.stop(goal, StopMode::Immediate))
            .expect("stopped");
        let conf = place.setup.members_dir.join(goal.member.0.to_string()).join("conf");
        for name in ["postgresql.conf", "pg_hba.conf"] {
            let path = conf.join(name);
            let whole = fs::read(&path).expect("it is there");
            fs::write(&path, &whole[..whole.len() / 2]).expect("torn");
        }
        let mut again = place.driver();
        again.configure(&goal).expect("made whole");
        play.call(Who::First, |driver, goal| driver.start(goal)).expect("started");
        until(|| again.probe(&goal, false) == Answer::Accepting);
        until(|| again.open(&goal) == Ok(true));
        play.until_in_force(Who::First);
        play.row(Who::First);
    });
}

/// A session, and what the server says beside its answers.
async fn session(port: u16) -> (Client, mpsc::UnboundedReceiver<String>) {
    let url =
        format!("host=127.0.0.1 port={port} user=orders-2 dbname=orders-2 password='a password'");
    let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.expect("let in");
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if let AsyncMessage::Notice(notice) = message {
                let _ = tell.send(notice.message().to_owned());
            }
        }
    });
    (client, told)
}

fn in_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// Waits until a backend waits for a standby; its number.
async fn waits_for_a_standby(watcher: &Client) -> i32 {
    loop {
        let question = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                        AND pid <> pg_backend_pid()";
        if let Some(row) = watcher.query(question, &[]).await.expect("answered").first() {
            return row.get(0);
        }
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
}

/// Whoever gives up waiting for an acknowledgement has none: one who cancels is warned, one whose session
/// is ended gets an error, and one that is killed hears nothing. Others go on waiting.
pub fn who_stops_waiting_has_no_acknowledgement(place: &mut Place) {
    with_a_pair(place, |play| {
        let port = play.goal(Who::First).port;
        play.pair().freeze(Who::Second, true);
        in_a_runtime(async {
            let (watcher, _) = session(port).await;
            let insert = "INSERT INTO t VALUES (2)";
            // It cancels.
            let (client, mut told) = session(port).await;
            let cancel = client.cancel_token();
            let write = tokio::spawn(async move { client.batch_execute(insert).await });
            waits_for_a_standby(&watcher).await;
            cancel.cancel_query(NoTls).await.expect("asked");
            write.await.expect("joined").expect("it is committed here");
            let warning = told.recv().await.expect("a warning");
            assert!(warning.contains("canceling wait for synchronous replication"), "{warning}");
            // Its session is ended by another.
            let (client, _) = session(port).await;
            let write = tokio::spawn(async move { client.batch_execute(insert).await });
            let pid = waits_for_a_standby(&watcher).await;
            watcher.query("SELECT pg_terminate_backend($1)", &[&pid]).await.expect("ended");
            write.await.expect("joined").expect_err("nobody acknowledged it");
            // It is killed while it waits: nobody reads the answer.
            let (client, _) = session(port).await;
            let write = tokio::spawn(async move { client.batch_execute(insert).await });
            waits_for_a_standby(&watcher).await;
            write.abort();
        });
        play.waiting_row(Who::First);
        let before = play.pair().acknowledged();
        play.pair().freeze(Who::Second, false);
        play.until_in_force(Who::First);
        until(|| play.pair().acknowledged() == before + 1);
    });
}
