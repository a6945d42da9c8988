-- Locks accounts in the order of their addresses, so that two transactions never wait for each other: addresses.
select a.address, a.overdraft
from postings.account a
where a.address = any ($1::text[])
order by a.address
for no key update
