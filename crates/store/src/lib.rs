//! Where cells keep their rows and journal.
