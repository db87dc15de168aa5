"""What the DAG files share: the map of assets and the defaults. Contains no DAG."""
