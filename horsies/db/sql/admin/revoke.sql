revoke all on function
    {functions}
from {role};
