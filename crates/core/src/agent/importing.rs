//! A member that is made from a foreign server: how far that is, for as long as its goal says so.

use super::member::Member;
use super::reconcile::Action;
use crate::goal::{Goal, Want};
use crate::import::Told;

/// What is known of a member's import.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Importing(Option<Box<Told>>);

impl Importing {
    /// For the controller, while it wants one.
    pub fn report(&self, goal: &Goal) -> Option<Box<Told>> {
        self.0.clone().filter(|_| goal.import.is_some())
    }
}

impl Member {
    /// Where its import is; whether it goes on though nobody wants it any more.
    pub fn told(&mut self, told: Told) -> bool {
        let told = Importing(Some(Box::new(told.rounded())));
        self.touched |= self.seen.importing != told;
        self.seen.importing = told;
        let goal = self.goal();
        let unwanted = goal.import.is_none() || goal.want != Want::Running;
        unwanted && self.call.as_ref().is_some_and(|call| call.action == Action::Initialize)
    }
}
