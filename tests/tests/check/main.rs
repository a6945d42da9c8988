//! What people see of runs, and what is found when tables, ledger and schema disagree.

mod damage;
mod history;
mod load;
mod view;
