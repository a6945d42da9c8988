-- The switch as it stands.
select state, switch_no, reason, by, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
from redress.switch
