"""Federated averaging with NVFlare: sites train with the bundle's configurations, and exchange weights only."""
