//! One trouble that many cells see is told once: what goes out, what is answered, and what is learnt.

use std::collections::BTreeMap;

use evenkeel_core::alert::{Delivery, IncidentId, Notice, Purpose, Receipt, Told};
use evenkeel_core::check::Severity;
use evenkeel_core::id::CellId;
use evenkeel_core::incident::fold::{Fold, Learnt, Standing, Standings, Way, Word};
use evenkeel_core::label::Label;

const NORTH: &str = "repository north";

fn label(text: &str) -> Label {
    Label::new(text).expect("there is one")
}

/// Cells as a shell has them: each has one incident, whose number is ten times the cell's.
#[derive(Default)]
struct Cells {
    fold: Fold,
    rows: BTreeMap<u32, Standing>,
    numbers: u64,
    /// What went out: its cell's number, purpose, channel and key.
    out: Vec<(u32, Purpose, String, u32)>,
    /// The delivery that went out last, and whose.
    last: (u32, u64),
    /// What was answered.
    told: Vec<(CellId, Told)>,
    acknowledged: Vec<(u32, String)>,
}

impl Cells {
    fn row(&mut self, cell: u32, domain: &str) -> &mut Standing {
        let row = self.rows.entry(cell).or_insert_with(|| Standing {
            incident: IncidentId(cell * 10),
            domain: domain.to_owned(),
            is_active: true,
            told: Vec::new(),
            under: BTreeMap::new(),
            known: None,
        });
        domain.clone_into(&mut row.domain);
        row
    }

    fn deliver(&mut self, cell: u32, purpose: Purpose, channel: &str) -> Way {
        self.numbers += 1;
        let row = &self.rows[&cell];
        let notice = Notice {
            incident: row.incident,
            under: row.under.get(&label(channel)).copied(),
            purpose,
            severity: Severity::Page,
            title: format!("{}: log waits", row.domain),
            domain: row.domain.clone(),
            evidence: Vec::new(),
            since: String::new(),
        };
        let delivery = Delivery { number: self.numbers, channel: label(channel), notice };
        let way = self.fold.deliver(CellId(cell), delivery);
        match &way {
            Way::Out(delivery) => self.went(cell, delivery),
            Way::Answered(told) => self.tell(vec![(CellId(cell), told.clone())], channel),
            Way::Known(told, too) => {
                self.tell(vec![(CellId(cell), told.clone())], channel);
                self.rows.get_mut(&cell).expect("there is one").known = Some(too.word.clone());
            }
            Way::Waits => {}
        }
        way
    }

    fn went(&mut self, cell: u32, delivery: &Delivery) {
        let (purpose, key) = (delivery.notice.purpose, delivery.notice.key().0);
        self.out.push((cell, purpose, delivery.channel.to_string(), key));
        self.last = (cell, delivery.number);
    }

    fn raise(&mut self, cell: u32, channel: &str, domain: &str) -> Way {
        self.row(cell, domain);
        self.deliver(cell, Purpose::Raise, channel)
    }

    /// It is fine in a cell, whose channels hear of it; the turn is over.
    fn end(&mut self, cell: u32) -> Learnt {
        let row = self.rows.get_mut(&cell).expect("there is one");
        row.is_active = false;
        for channel in row.told.clone() {
            self.deliver(cell, Purpose::Resolve, channel.as_str());
        }
        self.learn(cell)
    }

    /// The channel answers what went out last.
    fn answer(&mut self, channel: &str, outcome: Result<&str, &str>) {
        let (cell, number) = self.last;
        let receipt = |text: &str| Receipt { text: text.to_owned() };
        let told = Told::new(number, outcome.map(receipt).map_err(str::to_owned));
        let all = self.fold.told(CellId(cell), told);
        self.tell(all, channel);
    }

    /// As cells record it.
    fn tell(&mut self, all: Vec<(CellId, Told)>, channel: &str) {
        for (cell, told) in &all {
            let row = self.rows.get_mut(&cell.0).expect("there is one");
            if told.outcome.is_ok() && row.is_active {
                if !row.told.contains(&label(channel)) {
                    row.told.push(label(channel));
                }
                match told.under {
                    Some(under) => drop(row.under.insert(label(channel), under)),
                    None => drop(row.under.remove(&label(channel))),
                }
            }
        }
        // Who ends says so to every channel in one turn.
        let cells: Vec<u32> = all.iter().map(|(cell, _)| cell.0).collect();
        let cells: Vec<u32> = cells.into_iter().filter(|cell| self.rows[cell].is_active).collect();
        self.told.extend(all);
        cells.into_iter().for_each(|cell| drop(self.learn(cell)));
    }

    fn learn(&mut self, cell: u32) -> Learnt {
        let awaited = (1..=self.numbers).collect();
        let incidents = self.rows.get(&cell).into_iter().cloned().collect();
        let learnt = self.fold.learn(CellId(cell), &Standings { incidents, awaited });
        for delivery in &learnt.ends {
            self.went(0, delivery);
        }
        for too in &learnt.acknowledged {
            self.rows.get_mut(&too.cell.0).expect("there is one").known = Some(too.word.clone());
            self.acknowledged.push((too.cell.0, too.word.note.clone().expect("there is one")));
        }
        learnt
    }

    /// A person says that they know of a cell's incident.
    fn acknowledge(&mut self, cell: u32) {
        let word = Word { by: "ada".to_owned(), note: Some("looking".to_owned()) };
        self.rows.get_mut(&cell).expect("there is one").known = Some(word);
        self.learn(cell);
    }

    /// Another process takes over, with what is recorded.
    fn restart(&mut self) {
        self.fold = Fold::default();
        let cells: Vec<u32> = self.rows.keys().copied().collect();
        cells.into_iter().for_each(|cell| drop(self.learn(cell)));
    }

    fn raised(&self) -> Vec<(u32, &str, u32)> {
        let raised = self.out.iter().filter(|out| out.1 == Purpose::Raise);
        raised.map(|(cell, _, channel, key)| (*cell, channel.as_str(), *key)).collect()
    }

    fn resolved(&self) -> Vec<(u32, &str, u32)> {
        let resolved = self.out.iter().filter(|out| out.1 == Purpose::Resolve);
        resolved.map(|(cell, _, channel, key)| (*cell, channel.as_str(), *key)).collect()
    }
}

/// Three cells, told of one trouble by the first one's page.
fn told_of_three() -> Cells {
    let mut cells = Cells::default();
    for cell in 1..=3 {
        cells.raise(cell, "pager", NORTH);
    }
    cells.answer("pager", Ok("key"));
    cells
}

#[test]
fn one_of_many_goes_out_and_all_get_its_answer() {
    let mut cells = Cells::default();
    assert!(matches!(cells.raise(1, "pager", NORTH), Way::Out(_)));
    assert_eq!(cells.raise(2, "pager", NORTH), Way::Waits);
    cells.answer("pager", Ok("key"));
    let receipt = |text: &str| Ok(Receipt { text: text.to_owned() });
    let second = Told { number: 2, outcome: receipt("as i10: key"), under: Some(IncidentId(10)) };
    assert_eq!(cells.told, [(CellId(1), Told::new(1, receipt("key"))), (CellId(2), second)]);
    assert!(matches!(cells.raise(3, "pager", NORTH), Way::Answered(_)));
    assert!(matches!(cells.raise(4, "pager", "repository south"), Way::Out(_)), "another one");
    assert_eq!(cells.fold.folded(), 2);
    assert_eq!(cells.raised(), [(1, "pager", 10), (4, "pager", 40)]);
}

#[test]
fn who_knows_of_one_knows_of_all_and_of_what_comes_later() {
    let mut cells = told_of_three();
    cells.acknowledge(2);
    let note = |cell| (cell, "with i20: looking".to_owned());
    assert_eq!(cells.acknowledged, [note(1), note(3)]);
    // Who sees it later tells nobody.
    let Way::Known(_, too) = cells.raise(4, "pager", NORTH) else { panic!("a person knows") };
    assert_eq!((too.cell, too.incident, too.word.by.as_str()), (CellId(4), IncidentId(40), "ada"));
    cells.learn(4);
    assert_eq!(cells.acknowledged.len(), 2, "and is not told so again");
    assert_eq!(cells.raised().len(), 1);
    // Once it is over everywhere, what comes then is another trouble.
    for cell in 1..=4 {
        cells.end(cell);
    }
    cells.rows.clear();
    assert!(matches!(cells.raise(1, "pager", NORTH), Way::Out(_)));
}

#[test]
fn the_number_that_was_paged_is_acknowledged_for_all_also_when_its_own_cell_is_fine() {
    let mut cells = told_of_three();
    cells.end(1);
    cells.acknowledge(1);
    let acknowledged: Vec<u32> = cells.acknowledged.iter().map(|(cell, _)| *cell).collect();
    assert_eq!(acknowledged, [2, 3]);
}

#[test]
fn a_channel_that_fails_or_is_silent_fails_for_all_who_waited() {
    let mut cells = Cells::default();
    for cell in 1..=3 {
        cells.raise(cell, "pager", NORTH);
    }
    cells.answer("pager", Err("refused"));
    assert_eq!(cells.told.len(), 3);
    assert!(cells.told.iter().all(|(_, told)| told.outcome == Err("refused".to_owned())));
    // The next channel is told by whoever comes first, under its own number, and is silent.
    assert!(matches!(cells.raise(2, "mail", NORTH), Way::Out(_)));
    assert_eq!(cells.raise(3, "mail", NORTH), Way::Waits);
    let given_up = Standings { incidents: vec![cells.rows[&2].clone()], ..Standings::default() };
    let learnt = cells.fold.learn(CellId(2), &given_up);
    assert_eq!(learnt.told.len(), 1);
    assert_eq!((learnt.told[0].0, learnt.told[0].1.number), (CellId(3), 5));
    assert!(learnt.told[0].1.outcome.is_err());
    assert!(matches!(cells.raise(1, "mail", NORTH), Way::Out(_)), "it is tried again");
}

#[test]
fn it_is_told_again_as_often_as_one_cell_would() {
    // The second cell sees it first, so that its chain is ahead.
    let mut cells = Cells::default();
    cells.raise(2, "pager", NORTH);
    cells.answer("pager", Ok("key"));
    cells.raise(1, "pager", NORTH);
    for _ in 0..2 {
        for channel in ["mail", "pager"] {
            assert!(matches!(cells.raise(2, channel, NORTH), Way::Out(_)));
            cells.answer(channel, Ok("key"));
            assert!(matches!(cells.raise(1, channel, NORTH), Way::Answered(_)));
        }
    }
    let expected = ["pager", "mail", "pager", "mail", "pager"].map(|channel| (2, channel, 20));
    assert_eq!(cells.raised(), expected);
    // The other one goes on where its own is over, by the same number, and under its own name.
    cells.end(2);
    let Way::Out(delivery) = cells.raise(1, "mail", NORTH) else { panic!("it is its turn") };
    let notice = delivery.notice;
    assert_eq!((notice.incident, notice.under), (IncidentId(10), Some(IncidentId(20))));
}

#[test]
fn the_end_is_told_once_and_last_and_by_the_number_that_was_told() {
    let mut cells = told_of_three();
    // One of them has told another channel, too.
    cells.raise(2, "mail", NORTH);
    cells.answer("mail", Ok("queued"));
    cells.end(1);
    cells.end(2);
    assert_eq!(cells.resolved(), []);
    cells.end(3);
    assert_eq!(cells.resolved(), [(3, "pager", 10), (0, "mail", 20)], "who was told hears it");
}

#[test]
fn what_ends_without_a_word_holds_no_end_back_and_swallows_no_page() {
    let mut cells = Cells::default();
    for cell in 1..=2 {
        cells.raise(cell, "pager", NORTH);
    }
    cells.answer("pager", Err("refused"));
    cells.raise(2, "pager", NORTH);
    cells.answer("pager", Ok("key"));
    // Nobody was told of the first one, and so nobody is told of its end.
    cells.end(2);
    assert_eq!(cells.resolved(), []);
    cells.end(1);
    assert_eq!(cells.raised(), [(1, "pager", 10), (2, "pager", 10)], "it may have heard");
    assert_eq!(cells.resolved(), [(0, "pager", 10)]);
    cells.rows.clear();
    assert!(matches!(cells.raise(3, "pager", NORTH), Way::Out(_)));
}

#[test]
fn a_process_that_begins_anew_tells_nothing_again_and_ends_by_the_same_number() {
    let mut cells = told_of_three();
    cells.restart();
    assert!(matches!(cells.raise(4, "pager", NORTH), Way::Answered(_)));
    cells.end(1);
    cells.rows.remove(&1);
    cells.acknowledge(3);
    cells.restart();
    assert!(cells.rows[&2].known.is_some() && cells.rows[&4].known.is_some());
    for cell in 2..=4 {
        cells.end(cell);
    }
    assert_eq!(cells.raised().len(), 1);
    assert_eq!(cells.resolved(), [(4, "pager", 10)]);
    // What a person said just before it stopped is said to those who have not heard.
    let mut cells = told_of_three();
    cells.rows.get_mut(&1).expect("there is one").known =
        Some(Word { by: "ada".to_owned(), note: None });
    cells.restart();
    let acknowledged: Vec<u32> = cells.acknowledged.iter().map(|(cell, _)| *cell).collect();
    assert_eq!(acknowledged, [2, 3]);
}

#[test]
fn what_turns_out_to_be_part_of_something_wider_takes_its_page_along() {
    let mut cells = Cells::default();
    cells.raise(1, "pager", "rack a/r1");
    cells.answer("pager", Ok("key"));
    cells.raise(2, "pager", "rack a/r2");
    cells.answer("pager", Ok("key"));
    // The first one's page becomes the zone's; the second one's ends, as people have that one.
    assert!(matches!(cells.raise(1, "pager", "zone a"), Way::Out(_)));
    cells.answer("pager", Ok("key"));
    cells.raise(2, "pager", "zone a");
    cells.answer("pager", Ok("key"));
    assert_eq!(cells.raised(), [(1, "pager", 10), (2, "pager", 20), (1, "pager", 10)]);
    assert_eq!(cells.resolved(), [(2, "pager", 20)]);
    assert!(matches!(cells.raise(3, "pager", "zone a"), Way::Answered(_)));
    for cell in 1..=3 {
        cells.end(cell);
    }
    assert_eq!(cells.resolved(), [(2, "pager", 20), (3, "pager", 10)]);
    // Nothing is left of the narrower ones.
    cells.rows.clear();
    assert!(matches!(cells.raise(1, "pager", "rack a/r1"), Way::Out(_)));
}

#[test]
fn a_page_of_its_own_that_cannot_be_ended_is_ended_at_the_next_word() {
    let mut cells = Cells::default();
    for (cell, domain) in [(1, "zone a"), (2, "rack a/r2")] {
        cells.raise(cell, "pager", domain);
        cells.answer("pager", Ok("key"));
    }
    cells.raise(2, "pager", "zone a");
    cells.answer("pager", Err("refused"));
    cells.raise(2, "pager", "zone a");
    cells.answer("pager", Ok("key"));
    assert_eq!(cells.resolved(), [(2, "pager", 20), (2, "pager", 20)]);
    assert!(matches!(cells.raise(2, "pager", "zone a"), Way::Out(_)), "a round later");
    cells.answer("pager", Ok("key"));
    assert_eq!(cells.raised().last(), Some(&(2, "pager", 10)));
}

#[test]
fn one_that_leaves_others_behind_ends_nothing_of_theirs() {
    let mut cells = Cells::default();
    cells.raise(1, "pager", "rack a/r1");
    cells.raise(2, "pager", "rack a/r1");
    cells.answer("pager", Ok("key"));
    // What its page is for now goes on under its number after the others' is over.
    cells.raise(1, "pager", "zone a");
    cells.answer("pager", Ok("key"));
    cells.end(2);
    assert_eq!(cells.resolved(), []);
    cells.end(1);
    assert_eq!(cells.resolved(), [(1, "pager", 10)]);
}

#[test]
fn a_word_that_comes_late_is_everybodys_and_an_end_that_comes_early_has_the_number() {
    let mut cells = Cells::default();
    cells.raise(1, "pager", NORTH);
    let given_up = Standings { incidents: vec![cells.rows[&1].clone()], ..Standings::default() };
    cells.fold.learn(CellId(1), &given_up);
    cells.answer("pager", Ok("key"));
    assert!(matches!(cells.raise(2, "pager", NORTH), Way::Answered(_)), "people were told");
    // Both are fine before anybody has an answer: the channel may have told somebody all the same.
    let mut cells = Cells::default();
    for cell in 1..=2 {
        cells.raise(cell, "pager", NORTH);
    }
    for cell in 1..=2 {
        cells.rows.get_mut(&cell).expect("there is one").is_active = false;
        cells.deliver(cell, Purpose::Resolve, "pager");
        cells.learn(cell);
    }
    assert_eq!(cells.resolved(), [(2, "pager", 10)]);
}
