-- Wakes the workers that listen. Outside of any other transaction: one that notifies takes a lock that all such share.
select pg_catalog.pg_notify('redress', '')
