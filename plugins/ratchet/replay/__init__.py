"""The demo's world and its clock: real flights, simulated travellers, replayed through the scheduler."""
