//! Checks of the machine below. Their questions name readings that an agent takes; the judgement is
//! here.

mod clock_offset;
mod disk_latency;
mod disk_space;
mod out_of_memory_kills;
mod read_only_file_system;

use evenkeel_core::check::Check;

/// Every host check. A new one is a file and a line here, and its reading in the agent.
pub const CHECKS: &[&dyn Check] = &[
    &disk_space::DiskSpace,
    &disk_latency::DiskLatency,
    &read_only_file_system::ReadOnlyFileSystem,
    &clock_offset::ClockOffset,
    &out_of_memory_kills::OutOfMemoryKills,
];

#[cfg(test)]
mod tests {
    #[test]
    fn registry_is_sound() {
        evenkeel_core::check::sound(super::CHECKS).expect("every check has its examples");
    }
}
