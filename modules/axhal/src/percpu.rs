//! Per-hart data: the attribute that defines a variable of each hart's own, and the function
//! that its code names. What sets up harts' copies stays in here. Some of it is safe to call
//! by its signature, and would overwrite the variables of harts that run.

pub use ::percpu::{def_percpu, percpu_area_base};
