//! Which cell an order or a question is for.

use evenkeel_core::cell::many::{self, FIRST};
use evenkeel_core::id::CellId;
use evenkeel_core::order::Order;
use evenkeel_core::{drill, maintenance};

/// Names a cell by what is in it. Where nothing is found the first cell says so, as it always did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The fleet's first cell.
    First,
    /// This one.
    Cell(CellId),
    /// The one that has this service.
    Service(String),
    /// The one that has this host.
    Host(String),
}

impl Whom {
    /// The cell that drew an incident's, act's, approval's or planned work's number.
    pub fn of_id(id: u32) -> Self {
        Self::Cell(many::of_id(id))
    }
}

/// Where an order goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addressee {
    /// To one cell.
    One(Whom),
    /// To the one that has most room for a new service of this name.
    Roomiest(String),
    /// To one, which makes a new service of the second name.
    Beside(Whom, String),
    /// To every cell, together.
    All,
}

/// Where an order goes; every order is named here.
pub(super) fn addressee(order: &Order) -> Addressee {
    use Addressee::{All, Beside, One, Roomiest};
    let service = |name: &String| One(Whom::Service(name.clone()));
    let host = |name: &String| One(Whom::Host(name.clone()));
    let id = |id: u32| One(Whom::of_id(id));
    match order {
        Order::Recovered { .. } | Order::TestAlerts => One(Whom::Cell(FIRST)),
        Order::Create { name, .. } | Order::Import { name, .. } => Roomiest(name.clone()),
        Order::Fork { source, name, .. } => Beside(Whom::Service(source.clone()), name.clone()),
        Order::Backup { name, .. }
        | Order::Prove { name }
        | Order::GiveUpLog { name, .. }
        | Order::Rollback { name, .. }
        | Order::Restart { name }
        | Order::Retire { name }
        | Order::Revive { name, .. }
        | Order::Archive { name }
        | Order::Terminate { name, .. }
        | Order::Failover { name, .. }
        | Order::Switchover { name, .. }
        | Order::Drilled { name, .. }
        | Order::Pin { name, .. }
        | Order::Procedure { name, .. }
        | Order::Level { service: Some(name), .. } => service(name),
        Order::BreakGlass { glass } => service(&glass.service),
        Order::Drill { order } => match order {
            drill::Order::Schedule { name, .. }
            | drill::Order::Begin { name, .. }
            | drill::Order::Abort { name } => service(name),
        },
        Order::Maintenance { order } => match order {
            maintenance::Order::Window { name, .. } | maintenance::Order::Plan { name, .. } => {
                service(name)
            }
            maintenance::Order::RunNow { id: n } | maintenance::Order::Cancel { id: n } => id(*n),
        },
        Order::Approve { id: number } => id(*number),
        Order::ApproveAct { act, .. }
        | Order::EndAct { act, .. }
        | Order::RecordAct { act, .. } => id(*act),
        Order::Acknowledge { incident, .. } => id(incident.0),
        Order::Drain { host: name }
        | Order::Return { host: name }
        | Order::RemoveHost { host: name } => host(name),
        Order::AddRepository { .. }
        | Order::RemoveRepository { .. }
        | Order::Level { service: None, .. }
        | Order::Brake { .. } => All,
    }
}
