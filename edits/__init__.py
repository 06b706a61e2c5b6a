"""AlexNet's job: from an edit set to a report."""
