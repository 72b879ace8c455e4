use resilience_core::InvalidPolicy;

use super::generation::Generation;
use crate::key;

/// What the keys of one filter are called. All share the hash tag of its name, since an insert
/// changes several of them at once.
#[derive(Debug)]
pub(super) struct Names {
    /// The filter and its log, which every script is given.
    pub(super) filter_and_log: [String; 2],
    bits: String,
}

impl Names {
    pub(super) fn new(prefix: &str, name: &str) -> Result<Self, InvalidPolicy> {
        let key = |kind| key::start(prefix, kind, name).map(|start| start + "}");
        Ok(Self {
            filter_and_log: [key("filter")?, key("filter_log")?],
            bits: key("filter_bits")?,
        })
    }

    pub(super) fn partition(&self, generation: &Generation, partition: usize) -> String {
        format!("{}:{}:{partition}", self.bits, generation.name)
    }

    pub(super) fn partitions(&self, generation: &Generation) -> Vec<String> {
        let all = 0..generation.partitions();
        all.map(|partition| self.partition(generation, partition))
            .collect()
    }

    /// The bits of a partition on their way.
    pub(super) fn on_the_way(&self, generation: &Generation) -> String {
        format!("{}:{}:new", self.bits, generation.name)
    }
}
