"""The parent's side on a machine: processes, disturbances, guards, ceilings."""
