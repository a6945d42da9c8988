-- Takes away what 0001_settlements.up.sql made, with every row in it.
drop table transfer.settlement;
drop table transfer.blocked;
drop schema transfer;
