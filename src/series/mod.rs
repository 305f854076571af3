//! Series of bars: what is computed from stored ones when they are read.

mod bar;

pub use bar::SeriesBar;
