//! Rules that can be broken on purpose, to see that the checkers find it.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Expiry takes backups whatever was proven of them.
    ProvenExpires,
    /// A last proof looks at what is in the archive already, and asks for nothing that its sealed server
    /// has.
    EarlyLastProof,
    /// A repository that cannot be asked is taken for one that has nothing.
    SilenceIsNothing,
    /// Who writes in a term below the newest is stored all the same.
    StaleTermArchives,
    /// No server is told how much room its disk has.
    NoGuard,
    /// Of a fleet: the gate and the remedies of its cells know no bounds.
    NoBudgets,
    /// Of a fleet: what is recorded of one of its services is lost.
    ForgetsRow,
    /// Of a fleet: a server that died once is never started again, and nobody is told so.
    NeverBack,
    /// Of a fleet: people are told what each cell has to say, of one thing that all cells see.
    TellsEach,
}
