//! Images that servers run from: most hosts have the usual one, some that of a canary wave, which may be bad.

use evenkeel_core::id::MemberId;
use evenkeel_core::time::Span;

use super::events::Event;
use super::script::Share;
use super::seat::Seat;

/// The usual image, and that of a canary wave.
pub(super) const USUAL: &str = "image";
pub(super) const CANARY: &str = "canary";
/// A server that runs a bad image dies within this after its start.
const DIES_WITHIN: u64 = 20_000;

impl Seat {
    /// The canary image is bad from now on, until it is taken back: servers die, and die again.
    pub fn image_turns_bad(&mut self, share: &Share) {
        self.bad_image = true;
        self.at(share.lasts.0, Event::ImageIsGood);
        let of = |member: &super::host::Member| {
            let goal = &member.stored.applied.goal;
            (goal.image == CANARY).then_some(goal.member)
        };
        let members: Vec<MemberId> = self.members.iter().flatten().filter_map(of).collect();
        for id in members {
            let at = Span(self.chance.below(share.within.0.0 + 1));
            self.at(at, Event::Spoil(id));
        }
    }

    /// A server was started: what its image does to it comes later.
    pub fn started(&mut self, id: MemberId) {
        let runs = |member: &super::host::Member| member.stored.applied.goal.image == CANARY;
        if self.bad_image && self.member(id).is_some_and(runs) {
            let after = Span(1_000 + self.chance.below(DIES_WITHIN));
            self.at(after, Event::Spoil(id));
        }
    }

    /// A server dies of its image.
    pub fn spoil(&mut self, id: MemberId) {
        if self.bad_image {
            self.die(id);
        }
    }
}
