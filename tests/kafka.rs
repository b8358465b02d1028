//! Processes of millstream on a real Kafka, under everything that goes wrong with one.
//!
//! They share one database, one topic and one group, as they would on several machines. Whatever happens, the tables say
//! what the model says, and the positions add up to the records that there are: nothing is lost, nothing is twice.

mod fleet;

mod flood;

mod load;

mod kills;

mod storm;

mod zombie;

mod names;

mod broker;

mod gaps;

mod partitions;

mod commits;

mod one_sided;

mod memory;

mod group_tool;

mod idle;

mod security;
