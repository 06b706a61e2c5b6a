"""What is asked and what is answered: outputs, margins, norms and bounds; solutions, answers and errors."""
