-- What the scenes beside the cutover work on: bookings of orders, and parcels whose trigger writes a note.
create schema drill;
create table drill.booking (
  order_no text not null, run uuid not null, what text not null, state text not null default 'live',
  constraint booking_pkey primary key (order_no, run, what));
create table drill.parcel (run uuid not null, constraint parcel_pkey primary key (run));
create table drill.note (note text not null);
create function drill.note_parcel() returns trigger language plpgsql as
  $$ begin insert into drill.note values ('a parcel'); return new; end $$;
create trigger parcel_is_noted after insert on drill.parcel for each row execute function drill.note_parcel();
