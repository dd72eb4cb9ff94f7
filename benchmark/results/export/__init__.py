"""What other programs read: rows as tables, Parquet files, events of TensorBoard, runs of MLflow."""
