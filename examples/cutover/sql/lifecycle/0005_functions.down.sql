-- Takes the functions away; the rows they made stay.

drop function public.fn_iu_withdraw(uuid, uuid, text);
drop function public.fn_iu_enact(uuid, uuid);
drop function public.fn_iu_create(text, text, text, uuid);
drop function public.fn_iu_digest(public.information_unit);
drop function public.fn_iu_split(text);
