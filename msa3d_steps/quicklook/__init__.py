"""Pictures, line maps and the page that show at a glance whether a reduction worked."""
