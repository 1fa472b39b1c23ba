//! The shell around the cells.
