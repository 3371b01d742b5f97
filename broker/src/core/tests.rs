//! The core driven by hand.
