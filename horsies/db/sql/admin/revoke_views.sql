revoke all on
    {views}
from {role};
