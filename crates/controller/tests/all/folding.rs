//! One trouble of several cells: one page, one word of a person, one end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use evenkeel_api::NewRepository;
use evenkeel_controller::{AlertPort, Alerts, Options, Teller};
use evenkeel_core::alert::{Delivery, Purpose, Receipt, Told};
use evenkeel_core::cell::many::IDS_PER_CELL;
use evenkeel_core::incident::chain::Step;
use evenkeel_core::label::Label;
use evenkeel_core::time::Span;
use evenkeel_core::view::Incident;

use crate::memory::Commits;
use crate::peer::Agent;
use crate::world::{World, new_service, until};

/// A provider that answers when it is told to, and what it was sent.
#[derive(Clone, Default)]
struct Provider(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    teller: Option<Teller>,
    sent: Vec<Delivery>,
    /// So many of these are answered.
    answered: usize,
}

impl AlertPort for Provider {
    fn send(&self, delivery: Delivery) {
        self.state().sent.push(delivery);
    }
}

impl Provider {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    /// Two channels, pager and mail.
    fn alerts(&self) -> Alerts {
        let step =
            |name| Step { channel: Label::new(name).expect("a label"), ack_within: Span::mins(5) };
        let own = self.clone();
        let open = move |teller| -> Box<dyn AlertPort> {
            own.state().teller = Some(teller);
            Box::new(own)
        };
        Alerts { chain: vec![step("pager"), step("mail")], open: Box::new(open) }
    }

    /// Answers all that it was sent.
    fn answer(&self, outcome: Result<&str, &str>) {
        let mut state = self.state();
        let state = &mut *state;
        let teller = state.teller.as_ref().expect("it was opened");
        for delivery in &state.sent[state.answered..] {
            let receipt = |text: &str| Receipt { text: text.to_owned() };
            let outcome = outcome.map(receipt).map_err(str::to_owned);
            teller.told(Told::new(delivery.number, outcome));
        }
        state.answered = state.sent.len();
    }

    /// Channel, purpose, the key, and the number of the cell that sent it.
    fn sent(&self) -> Vec<(String, Purpose, u32, u32)> {
        let state = self.state();
        let sent = state.sent.iter().map(|delivery| {
            let notice = &delivery.notice;
            assert_eq!(notice.domain, "repository north");
            let cell = (notice.incident.0 - 1) / IDS_PER_CELL + 1;
            (delivery.channel.to_string(), notice.purpose, notice.key().0, cell)
        });
        sent.collect()
    }
}

/// Cells of one host each; a repository's trouble is told at once.
fn options(options: &mut Options) {
    options.cell_hosts_max = 1;
    let rules = &mut options.policy.incidents;
    (rules.gather, rules.repository_after) = (Span(0), Span(0));
    (rules.fine_for, rules.reopen_within) = (Span::millis(100), Span(0));
}

/// The same, with incidents that are followed long after all seems well.
fn patient(all: &mut Options) {
    options(all);
    all.policy.incidents.fine_for = Span::mins(10);
}

/// Hosts `h1` and so on, each in a cell of its own, with a service of its own that archives.
fn fleet(world: &World, hosts: usize) -> Vec<Agent> {
    let mut agents: Vec<Agent> = (1..=hosts)
        .map(|n| {
            let name = format!("h{n}");
            let mut agent = world.agent(&name);
            agent.report();
            until("it joined", || world.client.host(&name).is_ok());
            agent
        })
        .collect();
    let directory = Some("/north".to_owned());
    let north = NewRepository { name: "north".to_owned(), directory, bucket: None };
    world.client.add_repository(&north).expect("accepted");
    for n in 0..hosts {
        let mut service = new_service(&format!("s{n}"));
        service.plan = Some("kept".to_owned());
        world.client.create(&service).expect("accepted");
    }
    agents.iter_mut().for_each(Agent::obey);
    let mut homes: Vec<String> =
        world.client.services().expect("there").into_iter().map(home).collect();
    homes.sort();
    let expected: Vec<String> = (1..=hosts).map(|n| format!("h{n}")).collect();
    assert_eq!(homes, expected, "one in each cell");
    agents
}

fn home(service: evenkeel_core::view::Service) -> String {
    service.members[0].host.clone()
}

/// Incidents that go on, in order of their cells.
fn incidents(world: &World) -> Vec<Incident> {
    let mut all = world.client.incidents(false).expect("there");
    all.sort_by_key(|incident| incident.id);
    all
}

fn are(world: &World, count: usize, state: &str) -> bool {
    let all = incidents(world);
    all.len() == count && all.iter().all(|incident| incident.state == state)
}

fn page(channel: &str) -> (String, Purpose, u32, u32) {
    (channel.to_owned(), Purpose::Raise, 1, 1)
}

#[test]
fn a_trouble_of_three_cells_is_one_page_one_acknowledgement_and_one_end() {
    let provider = Provider::default();
    let world = World::telling(provider.alerts(), options);
    let mut agents = fleet(&world, 3);
    for (at, agent) in agents.iter_mut().enumerate() {
        agent.misses(Some("north"));
        until("its cell has an incident", || are(&world, at + 1, "open"));
    }
    assert_eq!(provider.sent(), [page("pager")], "one of them goes out");
    provider.answer(Ok("key 7"));
    until("all have the answer", || are(&world, 3, "paged"));
    let metrics = world.client.metrics().expect("there");
    assert!(metrics.contains("evenkeel_notices_folded_total 2\n"), "{metrics}");
    // A person says of one that they know.
    let second = incidents(&world)[1].id.to_string();
    world.client.acknowledge(&second, Some("looking".to_owned())).expect("accepted");
    until("all are acknowledged", || are(&world, 3, "acknowledged"));
    let all = incidents(&world);
    let by = all[1].acknowledged.clone().expect("it is").by;
    for (at, incident) in all.iter().enumerate() {
        let ack = incident.acknowledged.as_ref().expect("it is");
        let note = match at {
            1 => "looking".to_owned(),
            _ => format!("with {second}: looking"),
        };
        assert_eq!((&ack.by, ack.note.as_deref()), (&by, Some(note.as_str())));
    }
    // It ends in one cell after the other.
    for (left, agent) in [(2, 0), (1, 2), (0, 1)] {
        agents[agent].misses(None);
        until("it ended there", || are(&world, left, "acknowledged"));
    }
    let end = ("pager".to_owned(), Purpose::Resolve, 1, 2);
    assert_eq!(
        provider.sent(),
        [page("pager"), end],
        "told by the last, under the first one's number"
    );
    provider.answer(Ok("over"));
    // What comes afterwards is told anew.
    agents[2].misses(Some("north"));
    until("it is back", || provider.sent().len() == 3);
    let sent = &provider.sent()[2];
    assert_eq!((sent.1, sent.3), (Purpose::Raise, 3));
}

#[test]
fn a_channel_that_fails_has_every_cell_go_on_in_its_chain() {
    let provider = Provider::default();
    let world = World::telling(provider.alerts(), options);
    let mut agents = fleet(&world, 3);
    for (at, agent) in agents.iter_mut().enumerate() {
        agent.misses(Some("north"));
        until("its cell has an incident", || are(&world, at + 1, "open"));
    }
    provider.answer(Err("refused"));
    until("the next channel is told", || provider.sent().len() > 1);
    let next = |incident: &Incident| {
        let entries = world.client.journal(&evenkeel_api::JournalQuery {
            subject: Some(incident.id.to_string()),
            ..Default::default()
        });
        let entries = entries.expect("there");
        entries.iter().any(|entry| entry.text == "pager failed: refused")
    };
    until("every cell knows why", || incidents(&world).iter().all(next));
    provider.answer(Ok("queued"));
    until("all have the answer", || are(&world, 3, "paged"));
    assert_eq!(provider.sent(), [page("pager"), page("mail")]);
    assert!(incidents(&world).iter().all(|incident| incident.told == ["mail"]));
}

#[test]
fn a_controller_that_begins_anew_pages_nobody_again_and_knows_who_knows() {
    let provider = Provider::default();
    let mut world = World::telling(provider.alerts(), patient);
    let mut agents = fleet(&world, 4);
    for agent in &mut agents[..2] {
        agent.misses(Some("north"));
    }
    until("both cells have an incident", || are(&world, 2, "open"));
    provider.answer(Ok("key 7"));
    until("both have the answer", || are(&world, 2, "paged"));
    assert_eq!(provider.sent().len(), 1);
    let members: Vec<_> = agents.drain(..).map(Agent::members).collect();
    world.restart_telling(provider.alerts(), patient);
    let dial = |at: usize| {
        let mut agent = world.agent(&format!("h{}", at + 1));
        agent.take_over(members[at].clone());
        agent
    };
    let mut agents: Vec<Agent> = (0..4).map(dial).collect();
    agents[2].misses(Some("north"));
    until("another cell has it, and has its answer", || are(&world, 3, "paged"));
    let first = incidents(&world)[0].id.to_string();
    world.client.acknowledge(&first, None).expect("accepted");
    until("all are acknowledged", || are(&world, 3, "acknowledged"));
    drop(agents);
    // Twice: the second time nothing is written before somebody asks.
    world.restart_telling(provider.alerts(), patient);
    assert!(are(&world, 3, "acknowledged"));
    world.restart_telling(provider.alerts(), patient);
    let mut last = world.agent("h4");
    last.take_over(members[3].clone());
    last.misses(Some("north"));
    until("a person knows of it already", || are(&world, 4, "acknowledged"));
    assert_eq!(provider.sent().len(), 1, "{:?}", provider.sent());
}

#[test]
fn a_store_that_fails_in_between_loses_no_answer() {
    let provider = Provider::default();
    let world = World::telling(provider.alerts(), patient);
    let mut agents = fleet(&world, 2);
    for (at, agent) in agents.iter_mut().enumerate() {
        agent.misses(Some("north"));
        until("its cell has an incident", || are(&world, at + 1, "open"));
    }
    assert_eq!(provider.sent(), [page("pager")]);
    world.store.set(Commits::Refused);
    assert_eq!(world.create("late").expect_err("refused").code(), Some("cannot_record"));
    world.store.set(Commits::Taken);
    // What was on its way goes out again under its number, once for both.
    until("it is sent again", || provider.sent().len() == 2);
    assert_eq!(provider.sent(), [page("pager"), page("pager")]);
    let numbers: BTreeSet<u64> = provider.state().sent.iter().map(|sent| sent.number).collect();
    assert_eq!(numbers.len(), 1, "{numbers:?}");
    provider.answer(Ok("key 7"));
    until("both have the answer", || are(&world, 2, "paged"));
    assert_eq!(provider.sent().len(), 2);
}
